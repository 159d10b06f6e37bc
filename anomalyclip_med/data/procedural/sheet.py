"""Contact sheets, for judging the families by eye."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw
from scipy import ndimage

from anomalyclip_med.data.procedural.dataset import item_seed
from anomalyclip_med.data.procedural.generation import Sample, generate
from anomalyclip_med.data.procedural.settings import DEFAULTS, Settings

_OUTLINE = (0, 255, 0)
_GAP = 2
_CAPTION = 12


def _outlined(sample: Sample) -> NDArray[np.uint8]:
    picture = np.round(sample.image * 255).astype(np.uint8)
    picture[ndimage.binary_dilation(sample.mask) & ~sample.mask] = _OUTLINE
    return picture


def _rows(settings: Settings) -> list[tuple[str, Settings]]:
    """One row of settings per family, the others left as they are: normal ones first, then defects, then looks."""
    rows = [("as it comes", settings)]
    normal = replace(settings, anomalous_share=0.0, looks_per_image=(0, 0))
    spoilt = replace(settings, anomalous_share=1.0, looks_per_image=(0, 0))
    rows += [(name, replace(normal, textures={name: 1.0}, object_share=0.0)) for name in settings.textures]
    rows += [(name, replace(normal, objects={name: 1.0}, object_share=1.0)) for name in settings.objects]
    rows += [(name, replace(spoilt, defects={name: 1.0})) for name in settings.defects]
    rows += [(name, replace(settings, looks={name: 1.0}, looks_per_image=(1, 1))) for name in settings.looks]
    return rows


def contact_sheet(
    path: str | Path,
    rows: int | None = None,
    columns: int = 10,
    seed: int = 0,
    size: int = 224,
    settings: Settings = DEFAULTS,
) -> None:
    """Write a PNG of pictures with the outlines of their masks.

    Args:
        path: the PNG.
        rows: rows of pictures drawn by ``settings``; None gives one captioned row per family instead.
        columns: pictures per row.
        seed: of the sheet.
        size: side of each picture in pixels.
        settings: what is drawn and how often.

    Examples:
        >>> contact_sheet("sheet.png", rows=2, columns=3, size=32)
        >>> PilImage.open("sheet.png").size  # with gaps of two pixels
        (102, 68)
    """
    plan = _rows(settings) if rows is None else [("", settings)] * rows
    step = size + _GAP
    caption = _CAPTION if rows is None else 0
    sheet = PilImage.new("RGB", (columns * step, len(plan) * (step + caption)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, row_settings) in enumerate(plan):
        top = row * (step + caption)
        draw.text((2, top), name, fill="black")
        for column in range(columns):
            sample = generate(item_seed(seed, row * columns + column), size, row_settings)
            sheet.paste(PilImage.fromarray(_outlined(sample)), (column * step, top + caption))
    sheet.save(path, "PNG")
