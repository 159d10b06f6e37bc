"""Textures: what surfaces look like, as a tone that a palette colours."""

from __future__ import annotations

from anomalyclip_med.data.procedural.family import registry
from anomalyclip_med.data.procedural.textures.bands import Bands
from anomalyclip_med.data.procedural.textures.base import Texture
from anomalyclip_med.data.procedural.textures.blend import Blend
from anomalyclip_med.data.procedural.textures.bricks import Bricks
from anomalyclip_med.data.procedural.textures.brushed import Brushed
from anomalyclip_med.data.procedural.textures.drape import Drape
from anomalyclip_med.data.procedural.textures.fibres import Fibres
from anomalyclip_med.data.procedural.textures.fractal import Fractal
from anomalyclip_med.data.procedural.textures.gradient import Gradient
from anomalyclip_med.data.procedural.textures.grains import Grains
from anomalyclip_med.data.procedural.textures.marble import Marble
from anomalyclip_med.data.procedural.textures.print import Print
from anomalyclip_med.data.procedural.textures.strata import Strata
from anomalyclip_med.data.procedural.textures.tunnel import Tunnel
from anomalyclip_med.data.procedural.textures.weave import Weave

TEXTURES: dict[str, type[Texture]] = registry(
    Fractal, Bands, Weave, Bricks, Marble, Grains, Brushed, Print, Gradient, Fibres, Strata, Tunnel, Drape, Blend
)

__all__ = ["TEXTURES", "Texture"]
