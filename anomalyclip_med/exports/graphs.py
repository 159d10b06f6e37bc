"""Programs for other runtimes: ONNX, ``torch.export`` and TorchScript."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.exports.record import KEY, Record
from anomalyclip_med.exports.runtime import INPUT, MAP, SCORE, require
from anomalyclip_med.exports.seal import EMPTY, seal
from anomalyclip_med.networks import AnomalyCLIP, SingleTensorDetector

_SIDE_FILE = f"{KEY}.json"
_MOST_ONNX = 2**31 - 2**20
"""Bytes of a protocol buffer, with room for the graph."""


class _Program(nn.Module):
    """RGB images in [0, 1], (B, 3, S, S), to scores (B,) and maps (B, 1, S, S)."""

    def __init__(self, detector: AnomalyCLIP) -> None:
        super().__init__()
        self.network = SingleTensorDetector(detector)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        out = self.network(image)
        return out[:, 1, 0, 0], out[:, :1]


def write_onnx(detector: AnomalyCLIP, record: Record, path: Path) -> None:
    """Write ONNX with the weights inside, sealed as :mod:`anomalyclip_med.exports.seal` has it.

    Raises:
        ConfigurationError: ONNX Script is not installed, the weights exceed ONNX's 2 GiB, or a view cannot be written.
    """
    import onnx

    require("onnxscript")
    if sum(tensor.nbytes for tensor in detector.state_dict().values()) > _MOST_ONNX:
        raise ConfigurationError(f"{path.name}: the weights exceed the 2 GiB of an ONNX file: use another suffix")
    program = torch.onnx.export(
        _Program(detector),
        (_example(detector),),
        input_names=[INPUT],
        output_names=[SCORE, MAP],
        dynamic_shapes={INPUT: {0: torch.export.Dim.DYNAMIC}},
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props[KEY] = record.to_json()
    program.save(path, external_data=False)
    # Protocol buffers add up: a list that comes twice is joined.
    entry = onnx.StringStringEntryProto(key="sha256", value=EMPTY.decode())
    with path.open("ab") as stream:
        stream.write(onnx.ModelProto(metadata_props=[entry]).SerializeToString())
    seal(path)


def write_pt2(detector: AnomalyCLIP, record: Record, path: Path) -> None:
    """Write what ``torch.export.load`` reads."""
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(_Program(detector), (_example(detector),), dynamic_shapes=shapes)
    torch.export.save(program, path, extra_files={_SIDE_FILE: record.to_json()})


def write_torchscript(detector: AnomalyCLIP, record: Record, path: Path) -> None:
    """Write what ``torch.jit.load`` reads, in Python and C++."""
    program = torch.jit.trace(_Program(detector), (_example(detector),))
    torch.jit.save(program, path, _extra_files={_SIDE_FILE: record.to_json()})


def _example(detector: AnomalyCLIP) -> Tensor:
    """A batch of two: of one, exporters would write the number down."""
    size = detector.image_size
    return torch.zeros(2, 3, size, size, device=detector.text_features.device)
