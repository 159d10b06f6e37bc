"""The methods that AnomalyCLIP is compared with, behind the same interface."""

from anomalyclip_med.baselines.clip import CLIP, CLIPAC
from anomalyclip_med.baselines.coop import CoOp
from anomalyclip_med.baselines.vand import VAND
from anomalyclip_med.baselines.winclip import WinCLIP

__all__ = ["CLIP", "CLIPAC", "VAND", "CoOp", "WinCLIP"]
