"""Tables in the paper's arrangement: every figure of small studies, by hand."""

from __future__ import annotations

from anomalyclip_med.studies.summary import summarise
from anomalyclip_med.studies.tables import study_tables
from anomalyclip_med.studies.typeset import TextTable

from .made_up import failure, made_up_result, made_up_study, over_seeds

METHODS = {"ours": {}, "vand": {"method": "vand"}, "clip": {"method": "clip"}}
BOTH = [{"metrics": ["image_auroc", "image_ap"]}]


def shown(table: TextTable) -> list[list[str]]:
    """The text of the cells; what is bold between asterisks."""
    texts = [
        [", ".join(f"*{e.text}{e.mark}*" if e.bold else e.text + e.mark for e in cell) for cell in row]
        for row in table.rows
    ]
    return [list(table.header), *texts]


def test_data_sets_by_methods_with_two_metrics_and_a_mean() -> None:
    study = made_up_study(variants=METHODS, tables=BOTH)
    results = [
        *over_seeds("ours", "headct", "image_auroc", [90, 92, 94]),
        *over_seeds("ours", "headct", "image_ap", [70, 70, 70]),
        *over_seeds("ours", "brainmri", "image_auroc", [80, 80, 80]),
        *over_seeds("ours", "brainmri", "image_ap", [60, 62, 64]),
        *over_seeds("vand", "headct", "image_auroc", [91, 92, 93]),
        *over_seeds("vand", "headct", "image_ap", [71, 71, 71]),
        *over_seeds("vand", "brainmri", "image_auroc", [60, 60, 60]),
        *over_seeds("vand", "brainmri", "image_ap", [50, 50, 50]),
        *over_seeds("clip", "headct", "image_auroc", [56.5], "none"),
        *over_seeds("clip", "headct", "image_ap", [58.4], "none"),
        *over_seeds("clip", "brainmri", "image_auroc", [73.9], "none"),
        *over_seeds("clip", "brainmri", "image_ap", [81.7], "none"),
    ]
    (table,) = study_tables(study, summarise(results, study))
    assert shown(table) == [
        ["measured on", "ours", "vand", "clip"],
        ["headct", "*92.0 ± 2.0*, 70.0 ± 0.0", "*92.0 ± 1.0*, *71.0 ± 0.0*", "56.5, 58.4"],
        ["brainmri", "*80.0 ± 0.0*, 62.0 ± 2.0", "60.0 ± 0.0, 50.0 ± 0.0", "73.9, *81.7*"],
        # Seeds first: of ours (90 + 80) / 2, (92 + 80) / 2, (94 + 80) / 2.
        ["mean", "*86.0 ± 1.0*, 66.0 ± 1.0", "76.0 ± 0.5, 60.5 ± 0.0", "65.2, *70.0*"],
    ]
    assert "Learned from mvtec." in table.notes
    assert "Bold: the best of each row." in table.notes
    first = {"target": "headct", "variant": "ours", "metric": "image_auroc", "mean": 92.0, "sd": 2.0, "seeds": 3}
    assert table.records[0] == first | {"seeds_wanted": 3, "state": "complete", "best": True}


def test_missing_seeds_are_marked_and_left_out_of_what_is_compared() -> None:
    study = made_up_study(variants=METHODS)
    results = [
        *over_seeds("ours", "headct", "image_auroc", [99, 99]),
        failure("ours", "headct", 2),
        *over_seeds("ours", "brainmri", "image_auroc", [80, 80, 80]),
        *over_seeds("vand", "headct", "image_auroc", [70, 70, 70]),
        *over_seeds("vand", "brainmri", "image_auroc", [60, 60, 60]),
        *(failure("clip", target, 0, "none") for target in ("headct", "brainmri")),
    ]
    (table,) = study_tables(study, summarise(results, study))
    assert shown(table)[1:] == [
        ["headct", "99.0 ± 0.0†", "70.0 ± 0.0", "failed"],
        ["brainmri", "*80.0 ± 0.0*", "60.0 ± 0.0", "failed"],
        ["mean", "*80.0 ± 0.0*", "60.0 ± 0.0", "failed"],
    ]
    assert "Mean over what was measured on: brainmri." in table.notes
    assert any(note.startswith("† Fewer seeds") for note in table.notes)
    assert table.records[0]["seeds"] == 2
    assert table.records[0]["state"] == "partial"


def test_data_sets_without_the_metric_are_left_out_and_told() -> None:
    study = made_up_study(
        variants={"ours": {}}, tables=[{"metrics": ["pixel_auroc"]}], measure_on=["headct", "clinicdb", "tn3k"]
    )
    results = over_seeds("ours", "clinicdb", "pixel_auroc", [90, 90, 90])
    results += [made_up_result("ours", "headct", seed, "pixel_auroc", None) for seed in range(3)]
    results += over_seeds("ours", "headct", "image_auroc", [90, 90, 90])
    (table,) = study_tables(study, summarise(results, study))
    # Nothing of TN3K is there yet: its row stays, empty.
    assert shown(table)[1:3] == [["clinicdb", "90.0 ± 0.0"], ["tn3k", ""]]
    assert "Without these metrics, and left out: headct." in table.notes
    assert "Empty, or -: not measured, or nothing in common with the others." in table.notes


def test_a_figure_that_is_missing_from_a_cell_keeps_its_place() -> None:
    study = made_up_study(variants=METHODS, tables=BOTH, measure_on=["headct"])
    results = [
        *over_seeds("ours", "headct", "image_ap", [90, 90, 90]),
        *(failure("vand", "headct", seed) for seed in range(3)),
        *over_seeds("clip", "headct", "image_auroc", [50], "none"),
        made_up_result("clip", "headct", 0, "image_ap", None, "none"),
    ]
    (table,) = study_tables(study, summarise(results, study))
    assert shown(table)[1:] == [["headct", "-, 90.0 ± 0.0", "failed", "50.0, n/a"]]


def test_means_over_sources_are_of_those_that_all_methods_have() -> None:
    study = made_up_study(variants=METHODS, learn_from=["mvtec", "visa"], measure_on=["headct"])
    results = [
        *over_seeds("ours", "headct", "image_auroc", [90, 90, 90], "mvtec"),
        *over_seeds("ours", "headct", "image_auroc", [70, 70, 70], "visa"),
        *over_seeds("vand", "headct", "image_auroc", [80, 80, 80], "mvtec"),
        *over_seeds("clip", "headct", "image_auroc", [50], "none"),
    ]
    (table,) = study_tables(study, summarise(results, study))
    assert shown(table)[1:] == [["headct", "*90.0 ± 0.0*", "80.0 ± 0.0", "50.0"]]
    assert "Learned from mvtec." in table.notes
    results += over_seeds("vand", "headct", "image_auroc", [40, 40, 40], "visa")
    (table,) = study_tables(study, summarise(results, study))
    assert shown(table)[1:] == [["headct", "*80.0 ± 0.0*", "60.0 ± 0.0", "50.0"]]
    assert "Mean over what was learned from: mvtec, visa." in table.notes


def test_means_over_data_sets_are_of_those_that_all_sources_have() -> None:
    study = made_up_study(
        variants={"ours": {}},
        learn_from=["mvtec", "visa"],
        measure_on=["mvtec", "visa", "headct"],
        tables=[{"metrics": ["image_auroc"], "rows": "variant", "columns": "source"}],
    )
    results = [
        *over_seeds("ours", "visa", "image_auroc", [99, 99, 99], "mvtec"),
        *over_seeds("ours", "headct", "image_auroc", [80, 80, 80], "mvtec"),
        *over_seeds("ours", "mvtec", "image_auroc", [60, 60, 60], "visa"),
        *over_seeds("ours", "headct", "image_auroc", [70, 70, 70], "visa"),
    ]
    (table,) = study_tables(study, summarise(results, study))
    assert shown(table) == [["method", "mvtec", "visa"], ["ours", "*80.0 ± 0.0*", "70.0 ± 0.0"]]
    assert "Measured on headct." in table.notes


def test_sources_by_data_sets_are_a_table_for_each_method() -> None:
    study = made_up_study(
        variants=METHODS,
        learn_from=["mvtec", "visa"],
        measure_on=["mvtec", "visa", "headct"],
        tables=[{"metrics": ["image_auroc"], "rows": "source", "columns": "target"}],
    )
    results = [
        *over_seeds("ours", "visa", "image_auroc", [99, 99, 99], "mvtec"),
        *over_seeds("ours", "headct", "image_auroc", [80, 80, 80], "mvtec"),
        *over_seeds("ours", "mvtec", "image_auroc", [60, 60, 60], "visa"),
        *over_seeds("ours", "headct", "image_auroc", [70, 70, 70], "visa"),
        *over_seeds("vand", "headct", "image_auroc", [75, 75, 75], "visa"),
    ]
    ours, vand = study_tables(study, summarise(results, study))
    assert shown(ours) == [
        ["learned from", "mvtec", "visa", "headct", "mean"],
        ["mvtec", "", "99.0 ± 0.0", "*80.0 ± 0.0*", "*80.0 ± 0.0*"],
        ["visa", "60.0 ± 0.0", "", "70.0 ± 0.0", "70.0 ± 0.0"],
    ]
    assert "Mean over what was measured on: headct." in ours.notes
    assert "Bold: the best of each column." in ours.notes
    assert (ours.name, vand.name) == ("table_1", "table_2")
    assert vand.caption.startswith("vand: image AUROC")
    assert shown(vand)[1:] == [["visa", "", "", "75.0 ± 0.0", "75.0 ± 0.0"]]


def test_a_set_without_a_metric_is_left_out_as_target_not_as_source() -> None:
    study = made_up_study(
        learn_from=["mvtec", "clinicdb"],
        measure_on=["headct", "clinicdb"],
        tables=[{"metrics": ["image_auroc"], "rows": "source", "columns": "target"}],
    )
    results = [
        *over_seeds("ours", "headct", "image_auroc", [60, 60, 60], "mvtec"),
        *over_seeds("ours", "headct", "image_auroc", [70, 70, 70], "clinicdb"),
        *(made_up_result("ours", "clinicdb", seed, "image_auroc", None) for seed in (0, 1, 2)),
    ]
    table, *_ = study_tables(study, summarise(results, study))
    assert [row[0] for row in shown(table)] == ["learned from", "mvtec", "clinicdb"]
    assert [row[1] for row in shown(table)] == ["headct", "60.0 ± 0.0", "*70.0 ± 0.0*"]
