"""A whole detector in one file: for a start without a text tower, or for another runtime than this package.

Every file takes RGB in [0, 1] and carries what it is made of: the CLIP, the prompts, their SHA-256 and all settings.
"""

from anomalyclip_med.exports.files import export_detector, load_detector

__all__ = ["export_detector", "load_detector"]
