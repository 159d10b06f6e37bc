"""Tiny data sets, laid out as their publishers do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes pictures of 8 x 6 pixels, each with its own content; masks mark 2 x 2 of them unless told otherwise."""
    count = 0

    def write(*names: str, mask: bool = False, value: int = 255, size: tuple[int, int] = (8, 6)) -> None:
        nonlocal count
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros(size[::-1], np.uint8)
            if mask:
                pixels[1:3, 1:3] = value
            else:
                count += 1
                pixels[:] = np.random.default_rng(count).integers(0, 200, pixels.shape)
            Image.fromarray(pixels).save(path)

    return write
