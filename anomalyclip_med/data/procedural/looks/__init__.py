"""Looks: what recording, storing and showing does to a picture. Applied in the order of the registry."""

from __future__ import annotations

from anomalyclip_med.data.procedural.family import registry
from anomalyclip_med.data.procedural.looks.base import Look
from anomalyclip_med.data.procedural.looks.bias_field import BiasField
from anomalyclip_med.data.procedural.looks.colour_cast import ColourCast
from anomalyclip_med.data.procedural.looks.defocus import Defocus
from anomalyclip_med.data.procedural.looks.gamma import Gamma
from anomalyclip_med.data.procedural.looks.highlights import Highlights
from anomalyclip_med.data.procedural.looks.jpeg import Jpeg
from anomalyclip_med.data.procedural.looks.low_contrast import LowContrast
from anomalyclip_med.data.procedural.looks.noise import Noise
from anomalyclip_med.data.procedural.looks.overlay import Overlay
from anomalyclip_med.data.procedural.looks.resample import Resample
from anomalyclip_med.data.procedural.looks.ringing import Ringing
from anomalyclip_med.data.procedural.looks.scanlines import Scanlines
from anomalyclip_med.data.procedural.looks.speckle import Speckle
from anomalyclip_med.data.procedural.looks.vignette import Vignette

LOOKS: dict[str, type[Look]] = registry(
    # From the thing to the screen: light, sensor, electronics, display, file.
    Highlights,
    Speckle,
    Defocus,
    Ringing,
    BiasField,
    Vignette,
    Noise,
    Resample,
    Gamma,
    LowContrast,
    ColourCast,
    Scanlines,
    Overlay,
    Jpeg,
)

__all__ = ["LOOKS", "Look"]
