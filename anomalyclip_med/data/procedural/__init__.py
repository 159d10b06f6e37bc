"""Procedural pictures with masks: an endless, seeded auxiliary set on which anomaly prompts are trained.

Surfaces and objects of many kinds, with defects of many kinds, seen through many cameras. Industrial-like by design:
nothing here draws an organ or a lesion. A picture is a *scene* (texture, or object on a background), *defects* on it,
and *looks* over it; every one is a family with parameters apart from their deterministic application.
"""

from __future__ import annotations

from anomalyclip_med.data.procedural.dataset import ProceduralDataset
from anomalyclip_med.data.procedural.folder import write_folder
from anomalyclip_med.data.procedural.generation import generate
from anomalyclip_med.data.procedural.settings import Settings, read_settings
from anomalyclip_med.data.procedural.sheet import contact_sheet

__all__ = ["ProceduralDataset", "Settings", "contact_sheet", "generate", "read_settings", "write_folder"]
