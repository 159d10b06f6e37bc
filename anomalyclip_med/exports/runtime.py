"""A detector that ONNX Runtime computes."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anomalyclip_med.backbones import Precision
from anomalyclip_med.backbones.state_dict import read_head
from anomalyclip_med.errors import ConfigurationError, WeightsError
from anomalyclip_med.exports.record import KEY, Record
from anomalyclip_med.exports.seal import check_seal
from anomalyclip_med.networks import Detector, DetectorOutput, Features, Views

INPUT, SCORE, MAP = "image", "score", "anomaly_map"
"""Names of what goes into an exported file and comes out."""
_CUDA = "CUDAExecutionProvider"


def require(package: str) -> Any:
    """Import a package of the extra ``onnx``.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigurationError(f"{package} is not installed: pip install 'anomalyclip-med[onnx]'") from None


class OnnxDetector(Detector):
    """What :func:`anomalyclip_med.exports.export_detector` wrote as ``.onnx``.

    It computes with as many threads as PyTorch, on an NVIDIA GPU where the images are on one and ONNX Runtime has its
    provider for it. There is nothing to learn and nothing to compare patches with: the file takes images and gives
    scores and maps.

    Args:
        path: the file.
        precision: float32; another would need another file.

    Raises:
        WeightsError: the file is missing, damaged, changed or of another kind.
        ConfigurationError: ONNX Runtime is not installed, or the precision is not float32.
    """

    def __init__(self, path: Path, precision: Precision = Precision.FLOAT32) -> None:
        if precision is not Precision.FLOAT32:
            raise ConfigurationError(
                f"precision={precision}: {path} computes in float32; export .safetensors for others"
            )
        nn.Module.__init__(self)  # a Detector's own would need the tower, which is in the file
        self.precision = precision
        self._runtime = require("onnxruntime")
        read_head(path)
        self.file_sha256 = check_seal(path)
        self.file_name = path.name
        self._path = path
        self._sessions = {"cpu": self._open("CPUExecutionProvider")}
        metadata = self._sessions["cpu"].get_modelmeta().custom_metadata_map
        self._record = record = Record.from_json(metadata.get(KEY), str(path))
        self.method = record.model["method"]  # type: ignore[misc]
        self.image_mean, self.image_std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # the file normalises
        self.warnings = list(record.warnings)
        self.class_name, self.object_aware, self.memory = "object", False, None
        self._views = Views().of(self.image_size, 1)  # the detector's own are in the file
        self._text_features, self._text_features_of, self._text_rows = None, (), {}

    def _open(self, *providers: str) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            return self._runtime.InferenceSession(self._path, options, providers=providers)
        except Exception as error:  # ONNX Runtime's own have no base class
            raise WeightsError(f"{self._path}: ONNX Runtime cannot load it ({str(error).splitlines()[0]})") from error

    def _session(self, device: torch.device) -> Any:
        kind = device.type if device.type == "cuda" and _CUDA in self._runtime.get_available_providers() else "cpu"
        if kind not in self._sessions:
            self._sessions[kind] = self._open(_CUDA, "CPUExecutionProvider")
        return self._sessions[kind]

    @property
    def image_size(self) -> int:
        """Side S of the square input in pixels."""
        return int(self._record.model["image_size"])

    @property
    def trained(self) -> bool:
        """Whether both the backbone and the prompts have been trained."""
        return bool(self._record.model["clip_trained"] and self._record.model["prompts_trained"])

    def settings(self) -> dict[str, Any]:
        """Those of the detector in the file."""
        return self._record.settings

    def describe(self) -> dict[str, Any]:
        """Weights and settings of the detector in the file, and the file itself."""
        return {**self._record.model, "file": self.file_name, "file_sha256": self.file_sha256}

    def image_side(self) -> dict[str, Any]:
        """The file: what is kept of an image is its score and map."""
        return {"file_sha256": self.file_sha256}

    def encode_view(self, images: Tensor) -> Features:
        """Score RGB images (B, 3, S, S) in [0, 1]: ``score`` (B,) and ``anomaly_map`` (B, 1, S, S).

        Raises:
            ConfigurationError: the images have another size.
        """
        if images.shape[1:] != (3, self.image_size, self.image_size):
            raise ConfigurationError(
                f"expected images of shape (B, 3, {self.image_size}, {self.image_size}), got {tuple(images.shape)}"
            )
        found = self._session(images.device).run([SCORE, MAP], {INPUT: images.float().cpu().numpy()})
        score, anomaly_map = (torch.from_numpy(values).to(images.device) for values in found)
        return {SCORE: score, MAP: anomaly_map}

    def encode_text(self, class_names: Sequence[str]) -> Tensor:
        """Nothing: the text features are in the file."""
        return torch.empty(len(class_names), 0, 0)

    def score_view(self, features: Features, text_features: Tensor) -> DetectorOutput:
        """What the file gave."""
        return DetectorOutput(features[SCORE], features[MAP])
