"""Objects: closed shapes that lie on a background, and windows with black around them."""

from __future__ import annotations

from anomalyclip_med.data.procedural.family import registry
from anomalyclip_med.data.procedural.objects.base import Shape
from anomalyclip_med.data.procedural.objects.mirrored import Mirrored
from anomalyclip_med.data.procedural.objects.pebble import Pebble
from anomalyclip_med.data.procedural.objects.polygon import Polygon
from anomalyclip_med.data.procedural.objects.porthole import Porthole
from anomalyclip_med.data.procedural.objects.sector import Sector
from anomalyclip_med.data.procedural.objects.superellipse import Superellipse

OBJECTS: dict[str, type[Shape]] = registry(Superellipse, Pebble, Polygon, Mirrored, Sector, Porthole)

__all__ = ["OBJECTS", "Shape"]
