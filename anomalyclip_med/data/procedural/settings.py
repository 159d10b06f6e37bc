"""Settings of the generator: plain data with defaults, checked when made."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anomalyclip_med.data.procedural.defects import DEFECTS
from anomalyclip_med.data.procedural.looks import LOOKS
from anomalyclip_med.data.procedural.objects import OBJECTS
from anomalyclip_med.data.procedural.textures import TEXTURES
from anomalyclip_med.errors import ConfigurationError


def _default_textures() -> dict[str, float]:
    quiet = {"fractal": 2.5, "gradient": 2.5, "drape": 1.5, "tunnel": 1.5, "blend": 1.5, "strata": 1.2}
    return {name: quiet.get(name, 0.7) for name in TEXTURES}


def _default_objects() -> dict[str, float]:
    return {name: {"mirrored": 1.5, "sector": 1.2}.get(name, 1.0) for name in OBJECTS}


def _default_defects() -> dict[str, float]:
    return {
        **dict.fromkeys(DEFECTS, 0.7),
        "blob": 2.0,
        "inlay": 3.0,
        "stain": 1.8,
        "bump": 1.6,
        "ring": 1.2,
        "texture_swap": 1.3,
        "gain": 1.0,
        "smoothing": 1.2,
        "warp": 1.0,
        "hair": 0.4,
    }


def _default_looks() -> dict[str, float]:
    return {**dict.fromkeys(LOOKS, 1.0), "speckle": 1.6, "noise": 1.4, "scanlines": 0.4}


@dataclass(frozen=True)
class Settings:
    """What is drawn and how often. Weights are relative; a family left out is never drawn.

    Attributes:
        textures: weight of each texture.
        objects: weight of each object.
        defects: weight of each defect.
        looks: weight of each look; looks of one picture differ from each other.
        anomalous_share: probability that a picture has a defect.
        object_share: probability that there is an object (or a window), not a surface that fills the picture.
        defects_per_image: least and most defects of an anomalous picture; fewer are more likely.
        looks_per_image: least and most looks of a picture, each number as likely.
        area: least and most area of a defect as a fraction of the picture; drawn log-uniformly.
        large_area: area from which on a defect counts as large.
        large_share: probability that the area is drawn among the large ones at once.

    Raises:
        ConfigurationError: unknown family, negative or missing weights, range out of order or out of bounds.
    """

    textures: Mapping[str, float] = field(default_factory=_default_textures)
    objects: Mapping[str, float] = field(default_factory=_default_objects)
    defects: Mapping[str, float] = field(default_factory=_default_defects)
    looks: Mapping[str, float] = field(default_factory=_default_looks)
    anomalous_share: float = 0.7
    object_share: float = 0.55
    defects_per_image: tuple[int, int] = (1, 3)
    looks_per_image: tuple[int, int] = (0, 4)
    area: tuple[float, float] = (0.0005, 0.3)
    large_area: float = 0.03
    large_share: float = 0.2

    def __post_init__(self) -> None:
        for name, known in (("textures", TEXTURES), ("objects", OBJECTS), ("defects", DEFECTS), ("looks", LOOKS)):
            self._check_weights(name, getattr(self, name), list(known))
        for name in ("anomalous_share", "object_share", "large_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must lie in [0, 1]")
        for name, least in (("defects_per_image", 1), ("looks_per_image", 0)):
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise ConfigurationError(f"{name} is {(low, high)}; it must be two rising integers from {least} on")
        if not 0.0 < self.area[0] <= self.area[1] <= 0.5:
            raise ConfigurationError(f"area is {self.area}; it must be two rising fractions in (0, 0.5]")
        available = sum(weight > 0 for weight in self.looks.values())
        if self.looks_per_image[1] > available:
            raise ConfigurationError(
                f"looks_per_image asks for {self.looks_per_image[1]} looks; {available} have weight"
            )

    @staticmethod
    def _check_weights(name: str, weights: Mapping[str, float], known: list[str]) -> None:
        unknown = sorted(set(weights) - set(known))
        if unknown:
            raise ConfigurationError(f"{name}: unknown {', '.join(unknown)}; known are {', '.join(known)}")
        if any(not math.isfinite(weight) or weight < 0 for weight in weights.values()):
            raise ConfigurationError(f"{name}: weights must be finite and not negative")
        if name != "looks" and not any(weights.values()):
            raise ConfigurationError(f"{name}: at least one family needs a positive weight")


DEFAULTS = Settings()


def read_settings(path: str | Path) -> Settings:
    """Settings from a JSON object of the attributes that differ from the defaults.

    Raises:
        ConfigurationError: the file is unreadable, or names or values that it holds are not settings.

    Examples:
        >>> _ = Path("settings.json").write_text('{"anomalous_share": 0.5, "defects": {"crack": 2, "blob": 1}}')
        >>> read_settings("settings.json") == Settings(anomalous_share=0.5, defects={"crack": 2, "blob": 1})
        True
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: not a readable JSON file ({error})") from None
    known = [entry.name for entry in dataclasses.fields(Settings)]
    if not isinstance(values, dict) or (unknown := sorted(values.keys() - set(known))):
        what = f"unknown {', '.join(unknown)}" if isinstance(values, dict) else "not a JSON object"
        raise ConfigurationError(f"{path}: {what}; settings are {', '.join(known)}")
    try:
        return Settings(**values)
    except (ConfigurationError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
