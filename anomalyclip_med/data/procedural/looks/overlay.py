"""Overlays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from anomalyclip_med.data.procedural.family import Image, chance, choice, integer, seed, uniform
from anomalyclip_med.data.procedural.looks.base import Look

_LETTERS = "ABCDEFGHKLMNPRSTUVXYZ0123456789.:-/ "
_MARGIN = 0.02


@dataclass(frozen=True)
class Overlay(Look):
    """What a display or camera writes on a picture: text in the corners, a ruler, a tone bar.

    Attributes:
        corners: corners with text, of "nw", "ne", "sw", "se".
        rows: rows of text.
        height: of a row as a fraction of the picture.
        ruler: side of the ruler, of "", "left", "right", "bottom".
        bar: a bar with all tones from black to white at the right.
        level: brightness of it all.
        seed: of the letters.
    """

    corners: tuple[str, ...]
    rows: int
    height: float
    ruler: str
    bar: bool
    level: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        corners = tuple(corner for corner in ("nw", "ne", "sw", "se") if chance(rng, 0.4))
        return cls(
            corners=corners,
            rows=integer(rng, 1, 4),
            height=uniform(rng, 0.028, 0.05),
            ruler=choice(rng, ("", "left", "right", "bottom")) if corners else "left",
            bar=chance(rng, 0.15),
            level=uniform(rng, 0.7, 1.0) if chance(rng, 0.85) else uniform(rng, 0.0, 0.2),
            seed=seed(rng),
        )

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        size = image.shape[0]
        rng = np.random.default_rng(self.seed)
        canvas = PilImage.new("L", (size, size))
        draw = ImageDraw.Draw(canvas)
        margin, height = _MARGIN * size, max(6.0, self.height * size)
        font = ImageFont.load_default(height)
        for corner in self.corners:
            for row in range(self.rows):
                text = "".join(_LETTERS[i] for i in rng.integers(0, len(_LETTERS), int(rng.integers(2, 9))))
                x = margin if "w" in corner else size - margin - draw.textlength(text, font)
                y = margin + row * height if "n" in corner else size - margin - (self.rows - row) * height
                draw.text((x, y), text, fill=255, font=font)
        for index, at in enumerate(np.linspace(0.1, 0.9, 17) * size):
            tick = (0.03 if index % 4 == 0 else 0.015) * size
            if self.ruler == "bottom":
                draw.line([(at, size - margin - tick), (at, size - margin)], fill=255)
            elif self.ruler:
                x = margin if self.ruler == "left" else size - margin - tick
                draw.line([(x, at), (x + tick, at)], fill=255)
        ink = np.asarray(canvas, dtype=np.float32)[..., None] / np.float32(255)
        marked = image + (np.float32(self.level) - image) * ink
        if self.bar:
            top, bottom, left, right = (round(part * size) for part in (0.3, 0.7, 0.93, 0.96))
            marked[top:bottom, left:right] = np.linspace(1.0, 0.0, bottom - top, dtype=np.float32)[:, None, None]
        return np.asarray(marked, dtype=np.float32)
