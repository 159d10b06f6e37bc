"""Scenes: the flawless picture before defects and looks - a surface, or an object on a background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from anomalyclip_med.data.procedural.family import (
    Field,
    Image,
    angle,
    chance,
    integer,
    log_uniform,
    seed,
    sign,
    uniform,
    weighted,
)
from anomalyclip_med.data.procedural.fields import grid, mix, rotated, smooth_noise, smoothstep
from anomalyclip_med.data.procedural.interior import Interior
from anomalyclip_med.data.procedural.objects import OBJECTS, Shape
from anomalyclip_med.data.procedural.surface import Surface


@dataclass(frozen=True)
class Scene:
    """A drawn scene, which defects change.

    Attributes:
        image: (size, size, 3) float32 in [0, 1].
        support: (size, size) float32 in [0, 1], where the object is (1 everywhere where there is none).
        background: (size, size, 3) float32 in [0, 1], what shows where a part of the object is missing.
    """

    image: Image
    support: Field
    background: Image

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""
        return int(self.image.shape[0])


@dataclass(frozen=True)
class Shell:
    """An inner shell of an object: what lies inside one level of its shell coordinate.

    Attributes:
        level: outline, as a share of the object's radius.
        shift: added to the tone.
        surface: replaces the object's surface inside, where given.
        folding: how much the outline waves, relative to the level.
        softness: width of the outline, in radii.
        seed: of the waving.
    """

    level: float
    shift: float
    surface: Surface | None
    folding: float
    softness: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, textures: Mapping[str, float], grey: bool) -> Self:
        """Draw parameters."""
        return cls(
            level=uniform(rng, 0.5, 0.95),
            shift=sign(rng) * log_uniform(rng, 0.03, 0.3),
            surface=Surface.sample(rng, textures, grey) if chance(rng, 0.3) else None,
            folding=uniform(rng, 0.02, 0.12) if chance(rng, 0.4) else 0.0,
            softness=log_uniform(rng, 0.01, 0.2),
            seed=seed(rng),
        )


@dataclass(frozen=True)
class Body:
    """An object: a shape, dressed.

    Attributes:
        shape: its outline.
        mirrored: its surfaces are the same left and right.
        shells: inner shells, outermost first.
        rim_width: in radii.
        rim_shift: tone of the rim against the body; 0 for none.
        interior: regular inner structure.
        doming: how much it darkens towards its outline.
        edge: width of its outline, in radii.
        background: what lies around it.
    """

    shape: Shape
    mirrored: bool
    shells: tuple[Shell, ...]
    rim_width: float
    rim_shift: float
    interior: Interior
    doming: float
    edge: float
    background: Surface | float

    @classmethod
    def sample(
        cls, rng: np.random.Generator, objects: Mapping[str, float], textures: Mapping[str, float], grey: bool
    ) -> Self:
        """Draw parameters; a window gets black around it and hardly any shells."""
        shape = OBJECTS[weighted(rng, objects)].sample(rng)
        window = shape.field_of_view
        count = 0 if window else integer(rng, 0, 3)
        shells = sorted((Shell.sample(rng, textures, grey) for _ in range(count)), key=lambda shell: -shell.level)
        if window or chance(rng, 0.4):
            background: Surface | float = uniform(rng, 0.0, 0.06)
        elif chance(rng, 0.5):
            background = uniform(rng, 0.0, 1.0)
        else:
            background = Surface.sample(rng, textures, grey)
        return cls(
            shape=shape,
            # A turned axis would need resampling; an upright one only needs columns picked.
            mirrored=not window and shape.pose.angle == 0.0 and chance(rng, 0.6),
            shells=tuple(shells),
            rim_width=log_uniform(rng, 0.02, 0.12),
            rim_shift=sign(rng) * log_uniform(rng, 0.05, 0.5) if not window and chance(rng, 0.45) else 0.0,
            interior=Interior("none", 0, 0.1, 0.1, 0.0, 0) if window else Interior.sample(rng),
            doming=uniform(rng, 0.0, 0.5) if chance(rng, 0.4) else 0.0,
            edge=log_uniform(rng, 0.01, 0.06),
            background=background,
        )

    def _mirror(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.mirrored:
            return array
        size = array.shape[0]
        axis = (self.shape.pose.centre[1] + 1) * size / 2 - 0.5
        columns = np.abs(np.arange(size) - axis) + axis
        # Where the farther half has no counterpart, the picture is folded back at its border.
        columns = np.where(columns > size - 1, 2 * (size - 1) - columns, columns)
        return array[:, np.clip(np.round(columns), 0, size - 1).astype(np.int32)]

    def draw(self, surface: Image) -> Scene:
        """The object made of ``surface``, on its background."""
        size = surface.shape[0]
        shell = self.shape.shell(size)
        image = self._mirror(surface)
        for part in self.shells:
            depth = shell - np.float32(part.level)
            if part.folding:
                folds = self._mirror(smooth_noise(part.seed, size, 7.0))
                depth = depth - folds * np.float32(part.folding * part.level)
            inside = smoothstep(part.softness, -part.softness, depth)
            if part.surface is not None:
                image = mix(image, self._mirror(part.surface.draw(size)), inside)
            image = image + (inside * np.float32(part.shift))[..., None]
        extra = self.interior.draw(*self.shape.pose.frame(size))
        if self.rim_shift:
            extra = extra + smoothstep(1 - 2 * self.rim_width, 1 - self.rim_width, shell) * np.float32(self.rim_shift)
        image = (image + extra[..., None]) * (1 - np.float32(self.doming) * np.minimum(shell, 1.2) ** 3)[..., None]
        image = np.clip(image, 0.0, 1.0)
        support = smoothstep(1 + self.edge / 2, 1 - self.edge / 2, shell)
        if isinstance(self.background, Surface):
            background = self.background.draw(size)
        else:
            background = np.full_like(image, self.background)
        return Scene(image=mix(background, image, support), support=support, background=background)


@dataclass(frozen=True)
class Light:
    """Uneven light over the scene: falls off along one direction or from a lamp's place.

    Attributes:
        strength: loss of light at the far end.
        angle: direction in radians.
        lamp: (y, x) of the lamp in [-1, 1] for a pool of light, else nothing.
    """

    strength: float
    angle: float
    lamp: tuple[float, float] | None

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters; even light half the time."""
        return cls(
            strength=uniform(rng, 0.05, 0.6) if chance(rng, 0.5) else 0.0,
            angle=angle(rng),
            lamp=(uniform(rng, -0.7, 0.7), uniform(rng, -0.7, 0.7)) if chance(rng, 0.5) else None,
        )

    def draw(self, size: int) -> Field:
        """Factor (size, size) in [0, 1]."""
        if self.lamp is None:
            across, _ = rotated(size, self.angle)
            loss = np.clip(across * 0.5 + 0.5, 0.0, 1.0)
        else:
            y, x = grid(size)
            loss = np.minimum(np.hypot(y - np.float32(self.lamp[0]), x - np.float32(self.lamp[1])) / 1.8, 1.0)
        return np.asarray(1.0 - np.float32(self.strength) * loss, dtype=np.float32)


@dataclass(frozen=True)
class ScenePlan:
    """All parameters of a scene.

    Attributes:
        surface: of the object, or of the whole picture.
        body: the object, where there is one.
        light: over everything.
    """

    surface: Surface
    body: Body | None
    light: Light

    @classmethod
    def sample(
        cls, rng: np.random.Generator, textures: Mapping[str, float], objects: Mapping[str, float], object_share: float
    ) -> Self:
        """Draw parameters."""
        surface = Surface.sample(rng, textures)
        has_object = chance(rng, object_share)
        body = Body.sample(rng, objects, textures, surface.palette.is_grey) if has_object else None
        return cls(surface=surface, body=body, light=Light.sample(rng))

    def draw(self, size: int) -> Scene:
        """The scene at one size."""
        surface = self.surface.draw(size)
        if self.body is None:
            scene = Scene(
                image=surface, support=np.ones((size, size), dtype=np.float32), background=np.zeros_like(surface)
            )
        else:
            scene = self.body.draw(surface)
        if not self.light.strength:
            return scene
        light = self.light.draw(size)[..., None]
        return Scene(image=scene.image * light, support=scene.support, background=scene.background * light)
