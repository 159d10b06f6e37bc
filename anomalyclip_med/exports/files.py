"""One call each to write and to load a detector; the suffix tells the kind of the file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from anomalyclip_med.backbones import Precision
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.exports.compact import assemble, read_compact, write_compact
from anomalyclip_med.exports.graphs import write_onnx, write_pt2, write_torchscript
from anomalyclip_med.exports.record import Record
from anomalyclip_med.exports.runtime import OnnxDetector
from anomalyclip_med.networks import Detector

_WRITERS = {".safetensors": write_compact, ".onnx": write_onnx, ".pt2": write_pt2, ".ts": write_torchscript}
_READERS: dict[str, Callable[[Path, Precision], Detector]] = {".safetensors": read_compact, ".onnx": OnnxDetector}


def export_detector(detector: Detector, path: str | Path) -> Path:
    """Write a detector into one file, which takes the place of another when it is complete.

    Args:
        detector: AnomalyCLIP with object-agnostic prompts, in evaluation mode.
        path: ``.safetensors``: the compact file that :func:`load_detector` reads; ``.onnx``, ``.pt2``
            (``torch.export``), ``.ts`` (TorchScript): a program from RGB images in [0, 1], float32 (B, 3, S, S), to
            scores (B,) and maps (B, 1, S, S), for any B.

    Returns:
        The path.

    Raises:
        ConfigurationError: the suffix is another one, the detector cannot be exported, the folder cannot be written to,
            or a package is missing.

    Examples:
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.exports import export_detector
        >>> detector = create_model("untrained", image_size=70)
        >>> export_detector(detector, "new/detector.safetensors").stat().st_size / 1e6  # the text tower stays out
        19.4...
        >>> export_detector(detector, "detector.pth")
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: detector.pth: the suffix tells the kind of export: use
        .safetensors, .onnx, .pt2, .ts
    """
    path = Path(path).expanduser()
    if path.suffix not in _WRITERS:
        raise ConfigurationError(f"{path}: the suffix tells the kind of export: use {', '.join(_WRITERS)}")
    record = Record.of(detector)
    detector = assemble(record, detector.vision.visual, detector.text_features)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder, because a name's suffix tells exporters the kind, too.
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=".partial-"))
        try:
            _WRITERS[path.suffix](detector, record, aside / path.name)
            (aside / path.name).replace(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def load_detector(path: str | Path, precision: Precision | str = Precision.FLOAT32) -> Detector:
    """Load what :func:`export_detector` wrote as ``.safetensors`` or ``.onnx``.

    Args:
        path: the file.
        precision: that a compact file is computed in.

    Returns:
        The detector in evaluation mode, with nothing left to learn.

    Raises:
        WeightsError: the file is missing, damaged, changed or of another kind.
        ConfigurationError: the suffix is another one, the precision is not that of the file, or ONNX Runtime is not
            installed.

    Examples:
        >>> import torch
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.exports import export_detector, load_detector
        >>> detector = create_model("untrained", image_size=28)
        >>> loaded = load_detector(export_detector(detector, "detector.safetensors"))
        >>> torch.equal(loaded.text_features, detector.text_features), loaded.describe()["file"], loaded.losses
        (True, 'detector.safetensors', ())
    """
    path = Path(path).expanduser()
    if path.suffix not in _READERS:
        raise ConfigurationError(
            f"{path}: a detector is loaded from {' or '.join(_READERS)}; 'anomalyclip-med export' writes them"
        )
    return _READERS[path.suffix](path, Precision(precision))
