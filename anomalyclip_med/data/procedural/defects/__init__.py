"""Defects: what is wrong with a picture, and where.

The mask of a defect is where its coverage alpha is > 0.5, on the object (support > 0.5). A defect counts only if it can
be noticed: see :func:`anomalyclip_med.data.procedural.generation.noticeable`.
"""

from __future__ import annotations

from anomalyclip_med.data.procedural.defects.base import Defect
from anomalyclip_med.data.procedural.defects.blob import Blob
from anomalyclip_med.data.procedural.defects.bump import Bump
from anomalyclip_med.data.procedural.defects.crack import Crack
from anomalyclip_med.data.procedural.defects.gain import Gain
from anomalyclip_med.data.procedural.defects.hair import Hair
from anomalyclip_med.data.procedural.defects.inlay import Inlay
from anomalyclip_med.data.procedural.defects.missing import Missing
from anomalyclip_med.data.procedural.defects.paste import Paste
from anomalyclip_med.data.procedural.defects.points import Points
from anomalyclip_med.data.procedural.defects.ring import Ring
from anomalyclip_med.data.procedural.defects.scratch import Scratch
from anomalyclip_med.data.procedural.defects.smoothing import Smoothing
from anomalyclip_med.data.procedural.defects.stain import Stain
from anomalyclip_med.data.procedural.defects.texture_swap import TextureSwap
from anomalyclip_med.data.procedural.defects.warp import Warp
from anomalyclip_med.data.procedural.family import registry

DEFECTS: dict[str, type[Defect]] = registry(
    Blob, Inlay, Stain, Bump, Ring, TextureSwap, Smoothing, Gain, Paste, Warp, Missing, Scratch, Crack, Hair, Points
)

__all__ = ["DEFECTS", "Defect"]
