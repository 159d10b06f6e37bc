"""The methods that AnomalyCLIP is compared with, behind the same interface."""

# First: it makes open_clip importable, see there.
from anomalyclip_med.backbones import torchvision_shim as torchvision_shim  # isort: skip

from anomalyclip_med.baselines.clip import CLIP, CLIPAC
from anomalyclip_med.baselines.coop import CoOp
from anomalyclip_med.baselines.vand import VAND
from anomalyclip_med.baselines.winclip import WinCLIP

__all__ = ["CLIP", "CLIPAC", "VAND", "CoOp", "WinCLIP"]
