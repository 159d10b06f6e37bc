"""Beside published figures: which stand together, the differences, and what is implausible about some."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import anomalyclip_med
from anomalyclip_med.data.datasets import data_set
from anomalyclip_med.published import published_figures
from anomalyclip_med.studies.beside import effects_table, published_table
from anomalyclip_med.studies.summary import summarise

from .made_up import failure, made_up_study, over_seeds
from .test_tables import shown

TABLE = Path(anomalyclip_med.__file__).with_name("published_results.csv")


def in_file(*beginning: str) -> list[float]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return [float(row[4]) for row in csv.reader(file) if tuple(row[: len(beginning)]) == beginning]


def test_differences_are_from_the_same_data_set_method_and_training() -> None:
    study = made_up_study(
        variants={
            "ours": {"published": "anomalyclip"},
            "CoOp": {"method": "coop", "published": "coop"},
            "CLIP": {"method": "clip", "published": "clip"},
            "changed": {},
        },
        profile={
            "data": {name: {"folder": "x", "dataset": of} for name, of in (("industry", "mvtec"), ("heads", "headct"))}
        },
        learn_from=["industry"],
        measure_on=["heads"],
    )
    results = [
        *over_seeds("ours", "heads", "image_auroc", [90, 92, 94], "industry"),
        *over_seeds("ours", "heads", "image_ap", [93, 93, 93], "industry"),
        *over_seeds("changed", "heads", "image_auroc", [50, 50, 50], "industry"),
        *(failure("CoOp", "heads", seed, "industry") for seed in range(3)),
        *over_seeds("CLIP", "heads", "image_auroc", [56.5], "none"),
    ]
    table = published_table(study, summarise(results, study), "image")
    assert table is not None
    (auroc,) = in_file("headct", "anomalyclip", "mvtec", "image_auroc")
    (ap,) = in_file("headct", "anomalyclip", "mvtec", "image_ap")
    assert (auroc, ap) == (93.4, 91.6)
    assert shown(table)[1:] == [
        ["heads", "ours", "industry", "92.0 ± 2.0", "93.4", "-1.4", "93.0 ± 0.0", "91.6", "+1.4", "A"],
        ["heads", "CoOp", "industry", "failed", "78.4", "", "failed", "78.8", "", "A"],
        ["heads", "CLIP", "none", "56.5", "56.5", "+0.0", "", "", "", "A"],
    ]
    assert "A: AnomalyCLIP paper, medical zero-shot table." in table.notes
    assert table.records[0]["difference"] == pytest.approx(92 - auroc)
    assert table.records[0]["published_in"] == "AnomalyCLIP paper, medical zero-shot table"
    assert published_table(study, summarise(results, study), "pixel") is None


def test_the_published_aupro_stands_beside_that_of_200_thresholds_and_each_source_apart() -> None:
    study = made_up_study(measure_on=["tn3k"])
    results = [
        *over_seeds("ours", "tn3k", "pixel_auroc", [80, 80, 80]),
        *over_seeds("ours", "tn3k", "pixel_aupro", [99, 99, 99]),
        *over_seeds("ours", "tn3k", "pixel_aupro_reference", [50, 50, 50]),
    ]
    table = published_table(study, summarise(results, study), "pixel")
    assert table is not None
    assert in_file("tn3k", "anomalyclip", "mvtec", "pixel_aupro") == [50.4, 46.8]
    assert [row[3:] for row in shown(table)[1:]] == [
        ["80.0 ± 0.0", "81.5", "-1.5", "50.0 ± 0.0", "50.4", "-0.4", "A"],
        ["80.0 ± 0.0", "63.5", "+16.5", "50.0 ± 0.0", "46.8", "+3.2", "B"],
    ]
    assert "B: TN3K fine-tuning article." in table.notes


def test_implausible_figures_are_shown_as_published_and_marked() -> None:
    study = made_up_study(
        variants={"CoOp": {"method": "coop", "published": "coop"}},
        measure_on=["brainmri", "headct"],
    )
    results = [r for t in ("brainmri", "headct") for r in over_seeds("CoOp", t, "image_ap", [60, 60, 60])]
    table = published_table(study, summarise(results, study), "image")
    assert table is not None
    assert [row[7] for row in shown(table)[1:]] == ["44.91", "78.8"]  # the mark follows the figure
    assert table.rows[0][7][0].mark == "1"
    assert table.records[0]["published"] == 44.9
    assert sum(note.startswith("[1] Cannot be right") for note in table.notes) == 1
    assert [bool(record["remark"]) for record in table.records] == [True, False]


def lowest_ap(abnormal: int, normal: int, auroc: float) -> float:
    """What no ranking of that AUROC can fall below, by Lagrange's dual.

    With f normal images before the k-th abnormal one, AP is the mean of k / (k + f), and AUROC tells the sum of f.
    """
    k = np.arange(1, abnormal + 1)
    wrong_pairs = (1 - auroc) * abnormal * normal
    bounds = []
    for price in np.geomspace(1e-6, 1, 300):
        f = np.clip(np.sqrt(k / price) - k, 0, normal)  # where k / (k + f) + price * f is lowest
        bounds.append((k / (k + f) + price * f).sum() - price * wrong_pairs)
    return max(bounds) / abnormal


def test_no_ranking_falls_below_the_bound() -> None:
    scores = np.arange(9)
    for abnormal in combinations(range(9), 5):
        labels = np.isin(scores, abnormal)
        assert average_precision_score(labels, scores) >= lowest_ap(5, 4, roc_auc_score(labels, scores)) - 1e-9
    # All abnormal images last: nothing is left to choose.
    assert lowest_ap(2, 2, 0) == pytest.approx((1 / 3 + 2 / 4) / 2, abs=1e-3)


def test_exactly_the_impossible_figures_have_remarks() -> None:
    aurocs = {
        (f.dataset, f.method, f.trained_on, f.source): f for f in published_figures() if f.metric == "image_auroc"
    }
    marked = set()
    for figure in published_figures():
        of = data_set(figure.dataset)
        if figure.metric != "image_ap" or len(of.objects) > 1:  # a mean over classes has other bounds
            continue
        auroc = aurocs[figure.dataset, figure.method, figure.trained_on, figure.source].percent
        # Both are rounded. Of several releases the paper's is not known: today's, the largest, is the first.
        normal, abnormal = of.expected[0].counts["test"]
        impossible = figure.percent + 0.05 < 100 * lowest_ap(abnormal, normal, (auroc - 0.05) / 100)
        assert bool(figure.remark) == impossible, figure
        marked |= {(figure.dataset, figure.method, figure.trained_on)} if figure.remark else set()
    assert marked == {
        ("brainmri", "coop", "mvtec"),
        ("covid19", "vand", "mvtec"),
        ("covid19", "vand", "colondb"),
        ("covid19", "coop", "mvtec"),
    }
    assert lowest_ap(155, 98, 0.613) == pytest.approx(0.600, abs=5e-4)  # as the remark has it
    # The first release allows all of COVID-19's.
    assert 100 * lowest_ap(219, 1341, 0.155) < 8.5
    assert 100 * lowest_ap(219, 1341, 0.253) < 9.2


def test_effects_are_changes_from_the_first_row_with_the_paper_s_beside() -> None:
    study = made_up_study(
        variants={
            "base": {"paper": {"pixel_auroc": 46.8, "image_auroc": 66.3}},
            "DPAM": {"paper": {"pixel_auroc": 68.4, "image_auroc": 66.3}},
            "prompts": {"paper": {"pixel_auroc": 89.5, "image_auroc": 90.8}},
            "beside": {},
        },
        measure_on=["mvtec", "headct"],
    )
    results = [
        # The paper's tables are of MVTec AD: nothing else is in ours.
        *(r for name in ("base", "DPAM", "prompts") for r in over_seeds(name, "headct", "pixel_auroc", [1, 1, 1])),
        *over_seeds("base", "mvtec", "pixel_auroc", [40, 42, 44]),
        *over_seeds("DPAM", "mvtec", "pixel_auroc", [50, 53, 56]),
        *over_seeds("prompts", "mvtec", "pixel_auroc", [39, 40, 41]),
        *over_seeds("base", "mvtec", "image_auroc", [60, 60, 60]),
        *over_seeds("DPAM", "mvtec", "image_auroc", [60, 60, 60]),
        *over_seeds("prompts", "mvtec", "image_auroc", [58, 60, 65]),
        *over_seeds("beside", "mvtec", "image_auroc", [99, 99, 99]),
    ]
    table = effects_table(study, summarise(results, study))
    assert table is not None
    assert shown(table)[1:] == [
        ["image AUROC", "base", "60.0 ± 0.0", "66.3", "", "", ""],
        ["", "DPAM", "60.0 ± 0.0", "66.3", "+0.0 ± 0.0", "+0.0", "yes"],
        # Changes -2, 0 and 5: 1 on average, and (9 + 1 + 16) / 2 = 13 is its variance.
        ["", "prompts", "61.0 ± 3.6", "90.8", "+1.0 ± 3.6", "+24.5", "unclear"],
        ["pixel AUROC", "base", "42.0 ± 2.0", "46.8", "", "", ""],
        ["", "DPAM", "53.0 ± 3.0", "68.4", "+11.0 ± 1.0", "+21.6", "yes"],
        ["", "prompts", "40.0 ± 1.0", "89.5", "-2.0 ± 1.0", "+42.7", "no"],
    ]
    assert any(note.startswith("In the paper's direction: 2 of 4 changes, 1 unclear.") for note in table.notes)


def test_changes_from_what_learns_nothing_keep_the_deviation_of_what_learns() -> None:
    papers = {"base": 66.3, "prompts": 90.8, "tokens": 91.0}
    study = made_up_study(
        variants={
            name: {"method": "clip" if name == "base" else "anomalyclip", "paper": {"image_auroc": figure}}
            for name, figure in papers.items()
        },
        measure_on=["mvtec"],
    )
    results = [
        *over_seeds("base", "mvtec", "image_auroc", [60], "none"),
        *over_seeds("prompts", "mvtec", "image_auroc", [57, 60, 66]),
        *over_seeds("tokens", "mvtec", "image_auroc", [64, 65, 66]),
    ]
    table = effects_table(study, summarise(results, study))
    assert table is not None
    assert [row[4:] for row in shown(table)[1:]] == [
        ["", "", ""],
        # -3, 0 and 6: 1 on average, with a variance of (16 + 1 + 25) / 2 = 21.
        ["+1.0 ± 4.6", "+24.5", "unclear"],
        ["+5.0 ± 1.0", "+24.7", "yes"],
    ]


def test_effects_without_their_first_row_are_not_taken_from_the_second() -> None:
    papers = {"base": 46.8, "DPAM": 68.4, "prompts": 89.5}
    variants = {name: {"paper": {"pixel_auroc": figure}} for name, figure in papers.items()}
    study = made_up_study(variants=variants, measure_on=["mvtec"])
    results = [
        *(failure("base", "mvtec", seed) for seed in range(3)),
        *over_seeds("DPAM", "mvtec", "pixel_auroc", [50, 53, 56]),
        *over_seeds("prompts", "mvtec", "pixel_auroc", [60, 60, 60]),
    ]
    table = effects_table(study, summarise(results, study))
    assert table is not None
    assert [row[2:] for row in shown(table)[1:]] == [
        ["failed", "46.8", "", "", ""],
        ["53.0 ± 3.0", "68.4", "", "+21.6", ""],
        ["60.0 ± 0.0", "89.5", "", "+42.7", ""],
    ]
    assert effects_table(made_up_study(), summarise(results[:0], made_up_study())) is None


def test_effects_are_none_where_the_paper_s_data_set_was_not_measured() -> None:
    study = made_up_study(variants={name: {"paper": {"image_auroc": 60}} for name in ("base", "DPAM")})
    results = [r for name in study.variants for r in over_seeds(name, "headct", "image_auroc", [1, 1, 1])]
    assert effects_table(study, summarise(results, study)) is None
