"""Zero-shot anomaly detection for medical imaging: AnomalyCLIP on MONAI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from anomalyclip_med.factory import create_model

__all__ = ["__version__", "create_model"]


def __getattr__(name: str) -> Any:
    # torch and open_clip take seconds to import; `anomalyclip-med --help` should not wait for them.
    if name == "create_model":
        from anomalyclip_med.factory import create_model

        return create_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
