"""Figures: the texts, colours and frames that they show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from anomalyclip_med.studies.figures import comparison_sheet, matrix_figure
from anomalyclip_med.studies.summary import summarise

from .made_up import DATA, failure, made_up_study, over_seeds


@pytest.fixture
def matrix() -> Figure:
    study = made_up_study(
        variants={"ours": {}, "clip": {"method": "clip"}},
        learn_from=["mvtec", "visa"],
        measure_on=["mvtec", "visa", "headct", "clinicdb"],
    )
    results = [
        *over_seeds("ours", "visa", "image_auroc", [99, 99, 99], "mvtec"),
        *over_seeds("ours", "headct", "image_auroc", [90, 92, 94], "mvtec"),
        *over_seeds("ours", "mvtec", "image_auroc", [60, 60], "visa"),
        *over_seeds("ours", "visa", "image_auroc", [72, 72, 72], "visa"),
        *(failure("ours", "headct", seed, "visa") for seed in range(3)),
        *over_seeds("clip", "headct", "image_auroc", [51], "none"),
        *over_seeds("ours", "clinicdb", "pixel_auroc", [70, 70, 70], "visa"),
    ]
    return matrix_figure("image_auroc", study, summarise(results, study))


def test_matrix_has_a_panel_per_variant_and_the_figures_in_their_cells(matrix: Figure) -> None:
    ours, clip, scale = matrix.axes
    assert [axes.get_title(loc="left") for axes in (ours, clip)] == ["ours", "clip"]
    assert [text.get_text() for text in ours.get_yticklabels()] == ["mvtec", "visa"]
    assert [text.get_text() for text in clip.get_yticklabels()] == ["nothing"]
    assert [text.get_text() for text in clip.get_xticklabels()] == ["mvtec", "visa", "headct"]
    texts = {(*text.get_position(), text.get_verticalalignment()): text.get_text() for text in ours.texts}
    texts = {place: text for place, text in texts.items() if text}
    assert texts == {
        (1, 0, "bottom"): "99.0",
        (1, 0, "top"): "± 0.0",
        (2, 0, "bottom"): "92.0",
        (2, 0, "top"): "± 2.0",
        (0, 1, "bottom"): "60.0†",
        (0, 1, "top"): "± 0.0",
        (1, 1, "bottom"): "72.0",
        (1, 1, "top"): "± 0.0",
        (2, 1, "center"): "failed",
    }
    assert scale.get_ylabel() == "image AUROC, percent"
    assert scale.get_ylim() == (50, 100)  # whole tens around 51 and 99


def test_matrix_hatches_gaps_and_frames_what_was_learned_from(matrix: Figure) -> None:
    cells = [patch for patch in matrix.axes[0].patches if isinstance(patch, Rectangle)]
    hatched = [patch.get_xy() for patch in cells if patch.get_hatch()]
    assert hatched == [(-0.5, -0.5), (1.5, 0.5)]
    framed = [patch.get_xy() for patch in cells if patch.get_width() < 1]
    assert framed == [pytest.approx((0.54, 0.57))]


def test_matrix_texts_can_be_read_on_all_colours() -> None:
    study = made_up_study(profile={"groups": {"all": DATA}}, learn_from=["all"], measure_on=["all"])
    pairs = [(source, target) for source in DATA for target in DATA if source != target]
    results = [
        result
        for (source, target), percent in zip(pairs, np.linspace(0, 100, len(pairs)), strict=True)
        for result in over_seeds("ours", target, "image_auroc", [percent] * 3, source)
    ]
    (axes, _) = matrix_figure("image_auroc", study, summarise(results, study)).axes
    faces = {p.get_xy(): p.get_facecolor() for p in axes.patches if p.get_fill() and not p.get_hatch()}
    shown = [text for text in axes.texts if text.get_text()]
    assert len(shown) == 2 * len(pairs)
    for text in shown:
        x, y = text.get_position()
        dark, light = sorted((luminance(faces[x - 0.5, y - 0.5][:3]), luminance(to_rgb(text.get_color()))))
        assert (light + 0.05) / (dark + 0.05) > 4.5  # WCAG's contrast of text


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def sheet(masks: np.ndarray, labels: list[bool]) -> Figure:
    images = np.full((2, 8, 8, 3), 0.5)
    wide = np.linspace(0.2, 0.8, 128).reshape(2, 8, 8)
    flat = np.full((2, 8, 8), 0.5)
    scores = {"wide": [0.7, 0.3], "flat": [0.5, 0.5]}
    return comparison_sheet(images, masks, labels, {"wide": wide, "flat": flat}, scores, "headct")


def test_sheet_has_a_scale_for_each_method_and_the_same_for_all_its_images() -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:5, 2:5] = True
    figure = sheet(masks, [True, False])
    grid = np.array(figure.axes).reshape(3, 4)
    assert [axes.get_title() for axes in grid[0]] == ["image", "mask", "wide", "flat"]
    assert [axes.get_ylabel() for axes in grid[:2, 0]] == ["abnormal", "normal"]
    assert [axes.get_xlabel() for axes in grid[:2, 2]] == ["score 0.700", "score 0.300"]
    for column, low, high in ((2, 0.2, np.percentile(np.linspace(0.2, 0.8, 128), 99.8)), (3, 0.5, 0.501)):
        for axes in grid[:2, column]:
            assert axes.images[1].get_clim() == pytest.approx((low, high))
        assert [text.get_text() for text in grid[2, column].get_xticklabels()] == [f"{low:.3f}", f"{high:.3f}"]
    assert len(grid[0, 2].collections) == 1  # the outline of the mask
    assert len(grid[1, 2].collections) == 0
    np.testing.assert_array_equal(grid[0, 1].images[0].get_array(), masks[0])
    assert figure.get_suptitle() == "headct"


def test_sheet_does_not_show_an_unknown_mask_as_an_empty_one() -> None:
    masks = np.zeros((2, 8, 8), bool)
    assert [axes.get_title() for axes in sheet(masks, [True, False]).axes[:3]] == ["image", "wide", "flat"]
    masks[0, 2:5, 2:5] = True
    grid = np.array(sheet(masks, [True, True]).axes).reshape(3, 4)
    assert [text.get_text() for text in grid[1, 1].texts] == ["no mask"]
    assert not grid[1, 1].images
