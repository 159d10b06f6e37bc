"""Make ``import torchvision`` work on a torch that torchvision's wheel was not compiled for.

PyPI has no CPU build of torchvision for Linux. The ordinary wheel's shared library needs CUDA's; beside a
CPU-only torch it does not load, the C++ operators are never declared, and the import ends with "operator
torchvision::nms does not exist" because torchvision attaches Python fallbacks to operators by name. open_clip
needs only torchvision's image transforms, which are plain Python: declaring the names (without an
implementation, so a call still fails loudly) is enough.

Where torchvision imports as it is, nothing is declared.
"""

from __future__ import annotations

import importlib

import torch

_NMS_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _import_torchvision() -> torch.library.Library | None:
    """Import torchvision; return the declarations that it needed, or None where it needed none."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(operator + _NMS_SIGNATURE)
        importlib.import_module("torchvision")
        return library
    return None


# Kept for the life of the process: torch withdraws a library's declarations when the object is collected.
_DECLARATIONS = _import_torchvision()
