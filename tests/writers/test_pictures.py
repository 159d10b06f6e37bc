"""Pictures: fixed scale, true aspect ratio, a notice that cannot be missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from anomalyclip_med.writers import write_map_png, write_overlay_png


def test_map_png_is_never_stretched(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.25], [0.5, 1.0]])
    write_map_png(tmp_path / "map.png", values, "UNTRAINED")
    image = Image.open(tmp_path / "map.png")
    np.testing.assert_array_equal(np.asarray(image), [[0, 64], [128, 255]])
    assert image.text["Description"] == "UNTRAINED"


def panel_colors(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour in the middle of the left and the right panel."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(float)
    row, columns = round(pixels.shape[0] * 0.55), pixels.shape[1]
    return pixels[row, round(columns * 0.24)], pixels[row, round(columns * 0.7)]


def test_overlay_is_clear_at_zero_and_hot_at_one(tmp_path: Path) -> None:
    grey = np.full((32, 32, 3), 0.5)
    write_overlay_png(tmp_path / "cold.png", grey, np.zeros((32, 32)), "cold")
    left, right = panel_colors(tmp_path / "cold.png")
    np.testing.assert_allclose(left, 127, atol=1)
    np.testing.assert_allclose(right, 127, atol=1)
    write_overlay_png(tmp_path / "hot.png", grey, np.ones((32, 32)), "hot")
    left, right = panel_colors(tmp_path / "hot.png")
    np.testing.assert_allclose(left, 127, atol=1)
    assert right[0] > right[2] + 30


def test_notice_is_drawn_and_written(tmp_path: Path) -> None:
    picture = np.zeros((20, 30, 3))
    write_overlay_png(tmp_path / "a.png", picture, np.zeros((20, 30)), "scan", notice="UNTRAINED: random weights")
    write_overlay_png(tmp_path / "b.png", picture, np.zeros((20, 30)), "scan")
    a, b = Image.open(tmp_path / "a.png"), Image.open(tmp_path / "b.png")
    assert "UNTRAINED" in a.text["Description"]
    assert (np.asarray(a) != np.asarray(b)).any()


def test_letters_stand_at_the_edges_of_the_left_panel(tmp_path: Path) -> None:
    grey, cold = np.full((32, 32, 3), 0.5), np.zeros((32, 32))
    write_overlay_png(tmp_path / "plain.png", grey, cold, "scan")
    write_overlay_png(tmp_path / "letters.png", grey, cold, "scan", edges=("A", "L", "", "R"))
    plain, lettered = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in ("plain", "letters"))
    rows, columns = np.nonzero(plain != lettered)
    panel = np.nonzero(plain == plain[plain.shape[0] // 2, plain.shape[1] // 4])
    top, bottom, left = panel[0].min(), panel[0].max(), panel[1].min()
    assert left <= columns.min() < left + 30
    assert columns.max() < plain.shape[1] / 2
    assert top <= rows.min() < top + 30
    assert rows.max() < (top + bottom) / 2 + 30  # nothing at the bottom
