"""Comparisons with published figures: which figures stand side by side, and what a missing checkpoint costs."""

from __future__ import annotations

import pytest

from anomalyclip_med.published import published_figures
from anomalyclip_med.studies.comparison import comparison_rows

ARTICLE = "TN3K fine-tuning article"


def evaluation(prompts: str, auroc: float | None, aupro: float, dataset: str = "tn3k", images: int = 614) -> dict:
    """What matters of a metrics.json; its exact AUPRO must not be taken."""
    published = [vars(f) for f in published_figures() if f.dataset == dataset and f.method == "anomalyclip"]
    mean = {"pixel_auroc": auroc, "pixel_aupro": 0.99, "pixel_aupro_reference": aupro}
    classes = {"thyroid": {"images": images - 14}, "other": {"images": 14}}
    return {"model": {"prompts": prompts}, "mean": mean, "classes": classes, "published": published}


def test_each_training_set_has_its_own_published_figures() -> None:
    ours = {
        "procedural": evaluation("p", 0.5, 0.4),
        "mvtec": evaluation("m", 0.635, 0.5),
        "tn3k": evaluation("t", 0.8, 0.6),
    }
    rows = comparison_rows(ours, ARTICLE)
    assert [row["trained_on"] for row in rows] == ["procedural", "mvtec", "visa", "tn3k"]
    assert [row["images"] for row in rows] == [614, 614, None, 614]
    # The paper's 81.5 and 50.4 with prompts trained on MVTec AD are of another source.
    assert [row["pixel_auroc_published"] for row in rows] == [None, 63.5, 63.4, 83.2]
    assert [row["pixel_aupro_reference_published"] for row in rows] == [None, 46.8, 39.8, 54.9]
    assert [row["pixel_auroc"] for row in rows] == [50.0, 63.5, None, 80.0]
    assert [row["pixel_aupro_reference"] for row in rows] == [40.0, 50.0, None, 60.0]
    assert rows[1]["pixel_auroc_difference"] == pytest.approx(0)
    assert rows[3]["pixel_auroc_difference"] == pytest.approx(-3.2)
    assert rows[3]["pixel_aupro_reference_difference"] == pytest.approx(5.1)
    assert rows[0]["pixel_auroc_difference"] is rows[2]["pixel_auroc_difference"] is None


def test_a_part_of_the_images_is_not_compared() -> None:
    rows = comparison_rows({"tn3k": evaluation("t", 0.8, 0.6, images=613)}, ARTICLE)
    assert rows[-1]["pixel_auroc"] == 80.0
    assert rows[-1]["pixel_auroc_published"] == 83.2
    assert rows[-1]["pixel_auroc_difference"] is rows[-1]["pixel_aupro_reference_difference"] is None


def test_without_published_figures_ours_stand_alone() -> None:
    (row,) = comparison_rows({"tn3k": evaluation("t", None, 0.6, dataset="headct")}, ARTICLE)
    assert row["pixel_auroc"] is None
    assert row["pixel_aupro_reference"] == 60.0
    assert row["pixel_auroc_published"] is row["pixel_aupro_reference_difference"] is None
