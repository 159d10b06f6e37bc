"""What all families share: a name, parameters that are plain data, and the random draws they are sampled with.

A family is a frozen dataclass. ``sample`` draws its parameters and nothing else; drawing or applying it is a function
of those parameters alone (noise fields come from a ``seed`` that is itself a parameter). A recipe therefore says all
there is to know about a picture.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""(size, size) float32; coverage and tone in [0, 1] unless said otherwise."""
Image = NDArray[np.float32]
"""(size, size, 3) float32 RGB in [0, 1]."""
Mask = NDArray[np.bool_]
"""(size, size) bool."""

T = TypeVar("T")


def family_name(family: type) -> str:
    """Name a family goes by in settings and recipes: its class name in snake case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", family.__name__).lower()


def registry(*families: type[T]) -> dict[str, type[T]]:
    """Families by name, in the order given."""
    return {family_name(family): family for family in families}


def describe(parameters: Any) -> Any:
    """Parameters as JSON-able data; every dataclass becomes a dictionary with its ``family`` name.

    Examples:
        >>> from anomalyclip_med.data.procedural.textures.gradient import Gradient
        >>> describe(Gradient(angle=0.0, radial=False, grain=0.02, seed=3))
        {'family': 'gradient', 'angle': 0.0, 'radial': False, 'grain': 0.02, 'seed': 3}
    """
    if dataclasses.is_dataclass(parameters) and not isinstance(parameters, type):
        values = {field.name: describe(getattr(parameters, field.name)) for field in dataclasses.fields(parameters)}
        return {"family": family_name(type(parameters)), **values}
    if isinstance(parameters, tuple | list):
        return [describe(value) for value in parameters]
    return parameters


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number, uniform in [low, high)."""
    return float(rng.uniform(low, high))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number whose logarithm is uniform in [log low, log high)."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def integer(rng: np.random.Generator, low: int, high: int) -> int:
    """One integer, uniform in [low, high], both ends included."""
    return int(rng.integers(low, high + 1))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


def sign(rng: np.random.Generator) -> float:
    """-1 or 1."""
    return 1.0 if rng.random() < 0.5 else -1.0


def angle(rng: np.random.Generator) -> float:
    """An angle in radians, uniform in [0, 2 pi)."""
    return float(rng.uniform(0.0, 2.0 * np.pi))


def seed(rng: np.random.Generator) -> int:
    """Seed of a noise field: a parameter like any other."""
    return int(rng.integers(0, 2**31))


def choice(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


def weighted(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One key, as likely as its weight (weights need not sum to 1; at least one is positive)."""
    names = list(weights)
    bounds = np.cumsum([weights[name] for name in names])
    return names[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))]
