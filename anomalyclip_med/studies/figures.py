"""Figures of a study: what was learned from against what was measured on, and the maps of the variants side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from anomalyclip_med.studies.config import Study
from anomalyclip_med.studies.plan import NOTHING
from anomalyclip_med.studies.summary import Key, Summary, axis_labels, members
from anomalyclip_med.studies.typeset import Entry
from anomalyclip_med.studies.wording import METRIC_TITLES, entry
from anomalyclip_med.writers.overlay import heat_colormap

_CELL = 0.95, 0.5
"""Width and height of a cell of the matrix, in inches."""
_LETTER = 0.1
"""Width of a letter, in inches."""
_LUMINANCE = np.array((0.2126, 0.7152, 0.0722))
"""Of linear red, green and blue."""
_PANEL = 1.6
"""Side of a picture of the sheet, in inches."""
_PERCENTILE = 99.8
"""Of a variant's map values, at which its colours end: a few pixels must not darken all others."""


def matrix_figure(metric: str, study: Study, found: Mapping[Key, Summary]) -> Figure:
    """A panel per variant, in which sources are rows and targets columns, all on one colour scale.

    A cell is framed where the target was learned from, and hatched where there is no figure.

    Args:
        metric: to be shown, in percent.
        study: gives the order.
        found: see :func:`~anomalyclip_med.studies.summary.summarise`.
    """
    cells = {cell: s for cell, s in found.items() if cell.metric == metric and s.state != "undefined"}
    variants = [name for name in study.variants if any(cell.variant == name for cell in cells)]
    targets = [name for name in axis_labels("target", study, cells) if any(cell.target == name for cell in cells)]
    sources = {name: axis_labels("source", study, [c for c in cells if c.variant == name]) for name in variants}
    heights = [len(sources[name]) for name in variants]
    longest = max(len(source) for names in sources.values() for source in names)
    room = max(
        _CELL[0] * len(targets), _LETTER * max(map(len, variants))
    )  # for the cells, and for the titles over them
    width = 1.5 + _LETTER * longest + room
    figure = Figure(figsize=(width, 1.6 + sum(_CELL[1] * rows + 0.4 for rows in heights)), layout="constrained")
    norm = _whole_tens([s.mean for s in cells.values() if s.mean is not None])
    panels = figure.subplots(len(variants), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, variant in zip(panels, variants, strict=True):
        for row, source in enumerate(sources[variant]):
            for column, target in enumerate(targets):
                within = target in members(source)
                _draw_cell(axes, (column, row), cells.get(Key(variant, source, target, metric)), norm, within)
        axes.set(xlim=(-0.5, len(targets) - 0.5), ylim=(len(sources[variant]) - 0.5, -0.5))
        axes.set_title(variant, fontsize="medium", loc="left", weight="bold")
        axes.set_yticks(range(len(sources[variant])), ["nothing" if s == NOTHING else s for s in sources[variant]])
        axes.set_xticks(range(len(targets)), targets, rotation=35, ha="right", rotation_mode="anchor")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.supxlabel("measured on", fontsize="medium")
    figure.supylabel("learned from", fontsize="medium")
    scale = ScalarMappable(norm, "viridis")
    bar = figure.colorbar(scale, ax=list(panels), label=f"{METRIC_TITLES[metric]}, percent", aspect=35, pad=0.02)
    bar.outline.set_visible(False)
    return figure


def _whole_tens(values: Sequence[float]) -> Normalize:
    low = 10 * np.floor(min(values, default=0) / 10)
    return Normalize(low, max(10 * np.ceil(max(values, default=100) / 10), low + 10))


def _draw_cell(axes: Axes, place: tuple[int, int], summary: Summary | None, norm: Normalize, within: bool) -> None:
    corner = place[0] - 0.5, place[1] - 0.5
    text = entry(summary) if summary else Entry("")
    ink = "0.25"
    if summary is None or summary.mean is None:
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="0.96", edgecolor="0.85", hatch="///", linewidth=0))
    else:
        colour = np.array(colormaps["viridis"](norm(summary.mean)))
        ink = "black" if colour[:3] ** 2.2 @ _LUMINANCE > 0.18 else "white"  # whichever contrasts more
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour))
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="white", linewidth=1.5))
    if within and summary is not None:
        inset = corner[0] + 0.04, corner[1] + 0.07
        axes.add_patch(Rectangle(inset, 0.92, 0.86, fill=False, edgecolor=ink, linewidth=1.2))
    mean, _, deviation = text.text.partition(" ± ")
    axes.text(*place, mean + text.mark, ha="center", va="bottom" if deviation else "center", color=ink)
    if deviation:
        axes.text(*place, f"± {deviation}", ha="center", va="top", color=ink, fontsize="x-small")


def comparison_sheet(
    images: np.ndarray,
    masks: np.ndarray,
    labels: Sequence[bool],
    maps: Mapping[str, np.ndarray],
    scores: Mapping[str, Sequence[float]],
    title: str,
) -> Figure:
    """A row per image: the image, its mask and each variant's map over it, with the score.

    The maps of different methods lie in different ranges, so each variant has a colour scale of its own: from its
    lowest value in the sheet to its 99.8th percentile, the same in all rows, with a bar below that tells both. No map
    is stretched on its own. The outline of the mask is drawn into the maps.

    Args:
        images: (N, H, W, 3) in [0, 1].
        masks: (N, H, W), True where abnormal; where an abnormal image has nothing, no mask is known. Without any the
            column is left out.
        labels: (N,), whether an image is abnormal.
        maps: by variant, (N, H, W) in [0, 1].
        scores: by variant, (N,) in [0, 1].
        title: over the sheet.
    """
    first = 2 if masks.any() else 1
    shape = len(images) + 1, first + len(maps)
    figure = Figure(figsize=(_PANEL * shape[1] + 0.4, (_PANEL + 0.2) * len(images) + 0.9), layout="constrained")
    figure.suptitle(title, fontsize="medium", weight="bold", wrap=True)
    # The last row has the scales; they must not take room from some columns only.
    grid = figure.subplots(*shape, squeeze=False, height_ratios=[*[1.0] * len(images), 0.07])
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for row, abnormal in enumerate(labels):
        grid[row, 0].imshow(images[row])
        grid[row, 0].set_ylabel("abnormal" if abnormal else "normal", fontsize="small")
        if first == 2:
            _draw_mask(grid[row, 1], masks[row], abnormal)
    for axes, name in zip(grid[0], ["image", "mask"][:first] + list(maps), strict=True):
        axes.set_title(name, fontsize="small", wrap=True)
    for column, (variant, values) in enumerate(maps.items(), first):
        low, high = float(values.min()), float(np.percentile(values, _PERCENTILE))
        high = max(high, low + 1e-3)
        norm = Normalize(low, high)
        for axes, image, value, mask, score in zip(
            grid[:-1, column], images, values, masks, scores[variant], strict=True
        ):
            axes.imshow(image)
            axes.imshow(value, cmap=heat_colormap(), norm=norm)
            if mask.any() and not mask.all():
                axes.contour(mask, levels=[0.5], colors="cyan", linewidths=0.8)
            axes.set_xlabel(f"score {score:.3f}", fontsize="small", labelpad=2)
        bar = figure.colorbar(ScalarMappable(norm, heat_colormap()), cax=grid[-1, column], orientation="horizontal")
        bar.set_ticks([low, high], labels=[f"{low:.3f}", f"{high:.3f}"], fontsize="x-small")
        left, right = bar.ax.get_xticklabels()
        left.set_horizontalalignment("left")
        right.set_horizontalalignment("right")
    grid[-1, 0].text(0, 0.5, "scale of each method:", fontsize="x-small", va="center", transform=grid[-1, 0].transAxes)
    return figure


def _draw_mask(axes: Axes, mask: np.ndarray, abnormal: bool) -> None:
    if abnormal and not mask.any():
        axes.text(
            0.5, 0.5, "no mask", ha="center", va="center", transform=axes.transAxes, fontsize="small", color="0.4"
        )
    else:
        axes.imshow(mask, cmap="gray", vmin=0, vmax=1)
