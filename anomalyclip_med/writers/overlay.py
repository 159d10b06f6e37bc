"""Pictures of a slice and its anomaly map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image
from PIL.PngImagePlugin import PngInfo

_HEIGHT = 4.6
"""Of a panel, in inches; 120 dots each."""
_LETTERS: dict[str, Any] = {
    "color": "#ffb000",
    "fontsize": 9,
    "ha": "center",
    "va": "center",
    "path_effects": [withStroke(linewidth=2.5, foreground="black")],  # to be read on bone, too
}


def heat_colormap() -> ListedColormap:
    """Colours of the scale [0, 1]: nothing at 0, ever less transparent towards 1."""
    colors = colormaps["inferno"](np.linspace(0, 1, 256))
    colors[:, 3] = np.linspace(0, 0.75, 256)
    return ListedColormap(colors, name="anomaly")


def blend(image: np.ndarray, anomaly_map: np.ndarray) -> np.ndarray:
    """Lay the colours of a map over a slice, pixel for pixel.

    Args:
        image: (rows, columns, 3) in [0, 1].
        anomaly_map: (rows, columns) in [0, 1]; NaN leaves the slice as it is.

    Returns:
        (rows, columns, 3) uint8 RGB.
    """
    colors = heat_colormap()(np.nan_to_num(anomaly_map))
    share = colors[..., 3:]
    return np.round((image * (1 - share) + colors[..., :3] * share) * 255).astype(np.uint8)


def write_overlay_png(
    path: Path,
    image: np.ndarray,
    anomaly_map: np.ndarray,
    title: str,
    notice: str | None = None,
    pixel_aspect: float = 1.0,
    edges: Sequence[str] = (),
    caption: str = "",
) -> None:
    """Draw a slice beside the same slice under its map; the colour scale is always [0, 1].

    Args:
        path: of the PNG.
        image: (rows, columns, 3) in [0, 1], as the model saw it.
        anomaly_map: (rows, columns) in [0, 1].
        title: first line over the picture.
        notice: a warning that must not be missed, such as untrained weights.
        pixel_aspect: height of a pixel over its width.
        edges: letters of the patient's directions at the top, right, bottom and left; empty where unknown.
        caption: line below the picture.

    Examples:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from anomalyclip_med.writers import write_overlay_png
        >>> write_overlay_png(Path("slice.png"), np.full((32, 32, 3), 0.5), np.eye(32), "CT, slice 7", "UNTRAINED")
        >>> Image.open("slice.png").text["Description"]
        'CT, slice 7. UNTRAINED'
    """
    rows, columns = anomaly_map.shape
    height = _HEIGHT + 1.1
    panel = float(np.clip(_HEIGHT * columns / (rows * pixel_aspect), 0.6 * _HEIGHT, 2.2 * _HEIGHT))
    figure = Figure(figsize=(2 * panel + 1.0, height), dpi=120, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    for axis in axes:
        axis.imshow(image, aspect=pixel_aspect, interpolation="nearest")
        axis.set_axis_off()
    heat = axes[1].imshow(
        anomaly_map, cmap=heat_colormap(), vmin=0, vmax=1, aspect=pixel_aspect, interpolation="nearest"
    )
    figure.subplots_adjust(left=0.01, right=0.92, bottom=0.35 / height, top=1 - 0.7 / height, wspace=0.02)
    for place, letters in zip(((0.5, 0.98), (0.98, 0.5), (0.5, 0.02), (0.02, 0.5)), edges, strict=False):
        axes[0].text(*place, letters, transform=axes[0].transAxes, **_LETTERS)
    box = axes[1].get_position()
    bar = figure.colorbar(heat, cax=figure.add_axes((0.935, box.y0, 0.012, box.height)))
    bar.ax.set_facecolor("black")
    bar.ax.tick_params(colors="white", labelsize=8)
    bar.ax.set_title("map", color="white", fontsize=8)
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1])
    figure.text(0.012, 0.985, title, color="white", fontsize=10, va="top")
    if notice:
        figure.text(0.012, 0.935, notice, color="#ffb000", fontsize=9, va="top", weight="bold")
    figure.text(0.012, 0.12 / height, caption, color="#b0b0b0", fontsize=8)
    figure.savefig(path, facecolor="black", metadata={"Description": f"{title}. {notice or ''}".strip()})


def write_map_png(path: Path, anomaly_map: np.ndarray, description: str) -> None:
    """Write a map as 8-bit grey: 0 is black and 1 is white, in every file alike.

    Args:
        path: of the PNG.
        anomaly_map: (rows, columns) in [0, 1]; NaN becomes black.
        description: put into the file.

    Examples:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from anomalyclip_med.writers import write_map_png
        >>> write_map_png(Path("map.png"), np.array([[0, 0.2, 1]]), "anomaly map [0, 1]")
        >>> np.asarray(Image.open("map.png")).tolist()
        [[0, 51, 255]]
    """
    text = PngInfo()
    text.add_text("Description", description)
    grey = np.nan_to_num(anomaly_map * 255).round().astype(np.uint8)
    Image.fromarray(grey).save(path, pnginfo=text)
