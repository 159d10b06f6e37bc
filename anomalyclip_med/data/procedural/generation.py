"""A picture from a seed: scene, then defects, then looks, each from its own stream of random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalyclip_med.data.procedural.defects import DEFECTS, Defect
from anomalyclip_med.data.procedural.family import (
    Image,
    Mask,
    chance,
    describe,
    integer,
    log_uniform,
    weighted,
)
from anomalyclip_med.data.procedural.looks import LOOKS, Look
from anomalyclip_med.data.procedural.scene import Scene, ScenePlan
from anomalyclip_med.data.procedural.settings import DEFAULTS, Settings
from anomalyclip_med.errors import ConfigurationError

LEAST_SIZE = 32
"""Smallest side in pixels; thinner pictures have no room for structure."""
LEAST_CHANGE = 0.02
"""Least mean change inside a mask on a flat surface."""
TEXTURE_SHARE = 0.25
"""What is added to that, as a share of the standard deviation of the picture inside the mask."""
MORE_DEFECTS = 0.3
"""Probability of each further defect, up to the most allowed."""
FIRST_ATTEMPTS = 40
MORE_ATTEMPTS = 4
"""Draws until a defect can be noticed: many for the first, for the picture's label hangs on it."""
MONOCHROME_SHARE = 0.85
"""Share of grey scenes whose defects are grey, too; a grey camera sees no coloured stain."""


@dataclass(frozen=True)
class Sample:
    """A picture and what is wrong with it.

    Attributes:
        image: (size, size, 3) float32 in [0, 1].
        mask: (size, size) bool, where the defects are; empty for a normal picture.
        recipe: names and parameters of every family used, JSON-able.
    """

    image: Image
    mask: Mask
    recipe: dict[str, Any]

    @property
    def label(self) -> int:
        """1 for an anomalous picture, 0 for a normal one."""
        return int(self.mask.any())


def noticeable(before: Image, after: Image, mask: Mask) -> bool:
    """Whether a change can be noticed at all.

    The mean absolute change inside the mask (largest channel) must reach ``LEAST_CHANGE``, plus ``TEXTURE_SHARE`` of
    the standard deviation of the picture there: what is lost in a flat surface differs from what is lost in a busy one.
    """
    if not mask.any():
        return False
    old = before[mask]
    change = np.abs(after[mask] - old).max(axis=1).mean()
    return bool(change >= LEAST_CHANGE + TEXTURE_SHARE * old.std(axis=0).max())


def _area(rng: np.random.Generator, settings: Settings) -> float:
    low, high = settings.area
    if low < settings.large_area < high and chance(rng, settings.large_share):
        low = settings.large_area
    return log_uniform(rng, low, high)


def _fitting(settings: Settings, area: float) -> dict[str, float]:
    """Weights of the defects that make sense at an area; of all where none does."""
    fitting = {
        name: weight
        for name, weight in settings.defects.items()
        if weight > 0 and DEFECTS[name].areas[0] <= area <= DEFECTS[name].areas[1]
    }
    return fitting or {name: weight for name, weight in settings.defects.items() if weight > 0}


def draw_defect(scene: Scene, defect: Defect) -> tuple[Image, Mask]:
    """The scene's picture with the defect (size, size, 3), and its mask: alpha and support both > 0.5."""
    image, alpha = defect.apply(scene)
    return image, (alpha > 0.5) & (scene.support > 0.5)


def _spoil(scene: Scene, rng: np.random.Generator, settings: Settings, grey: bool) -> tuple[Scene, Mask, list[Defect]]:
    """The scene with defects, their mask and their parameters; no colour comes in where ``grey``."""
    low, high = settings.defects_per_image
    count = low
    while count < high and chance(rng, MORE_DEFECTS):
        count += 1
    mask = np.zeros(scene.support.shape, dtype=np.bool_)
    used: list[Defect] = []
    for _ in range(count):
        for _ in range(MORE_ATTEMPTS if used else FIRST_ATTEMPTS):
            area = _area(rng, settings)
            name = weighted(rng, _fitting(settings, area))
            least, most = DEFECTS[name].areas
            defect = DEFECTS[name].sample(rng, min(max(area, least), most))
            image, where = draw_defect(scene, defect)
            if grey:
                image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
            fits = (mask | where).mean() <= settings.area[1] * 1.02
            if fits and noticeable(scene.image, image, where):
                scene = Scene(image=image, support=scene.support, background=scene.background)
                mask |= where
                used.append(defect)
                break
    return scene, mask, used


def _looks(rng: np.random.Generator, settings: Settings) -> list[Look]:
    weights = {name: weight for name, weight in settings.looks.items() if weight > 0}
    chosen = set()
    for _ in range(integer(rng, *settings.looks_per_image)):
        name = weighted(rng, weights)
        del weights[name]
        chosen.add(name)
    return [LOOKS[name].sample(rng) for name in LOOKS if name in chosen]


def generate(seed: int, size: int = 224, settings: Settings = DEFAULTS) -> Sample:
    """Draw one picture.

    The scene does not depend on the defects, nor the looks on either: with ``anomalous_share`` 0 the same seed gives
    the flawless twin of an anomalous picture.

    Args:
        seed: any non-negative integer; the same seed, size and settings give the same bytes.
        size: side of the picture in pixels, 32 or more; structures scale with it.
        settings: what is drawn and how often. Where none of its defects could be noticed on the scene (blurring on a
            surface without texture, say), the picture stays normal.

    Raises:
        ConfigurationError: negative seed or a size below 32.

    Examples:
        >>> sample = generate(seed=1, size=64)
        >>> sample.image.shape, sample.label, [defect["family"] for defect in sample.recipe["defects"]]
        ((64, 64, 3), 1, ['stain'])
        >>> twin = generate(seed=1, size=64, settings=Settings(anomalous_share=0.0))
        >>> twin.label, twin.recipe["scene"] == sample.recipe["scene"]
        (0, True)
    """
    if size < LEAST_SIZE:
        raise ConfigurationError(f"size is {size}; it must be at least {LEAST_SIZE}")
    if seed < 0:
        raise ConfigurationError(f"seed is {seed}; it must not be negative")
    streams = np.random.SeedSequence(seed).spawn(3)
    scene_rng, defect_rng, look_rng = (np.random.default_rng(stream) for stream in streams)
    plan = ScenePlan.sample(scene_rng, settings.textures, settings.objects, settings.object_share)
    scene = plan.draw(size)
    mask: Mask = np.zeros((size, size), dtype=np.bool_)
    defects: list[Defect] = []
    monochrome = False
    if chance(defect_rng, settings.anomalous_share):
        monochrome = plan.surface.palette.is_grey and chance(defect_rng, MONOCHROME_SHARE)
        scene, mask, defects = _spoil(scene, defect_rng, settings, monochrome)
    looks = _looks(look_rng, settings)
    image = scene.image
    for look in looks:
        image = look.apply(image)
    recipe = {
        "seed": seed,
        "size": size,
        "scene": describe(plan),
        "monochrome": monochrome,
        "defects": describe(defects),
        "looks": describe(looks),
    }
    return Sample(image=np.ascontiguousarray(np.clip(image, 0.0, 1.0), dtype=np.float32), mask=mask, recipe=recipe)
