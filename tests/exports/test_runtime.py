"""A detector that ONNX Runtime computes, in place of one of PyTorch."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import onnx
import pytest
import torch

from anomalyclip_med.engines import PromptTraining
from anomalyclip_med.errors import ConfigurationError, WeightsError
from anomalyclip_med.exports import export_detector, load_detector
from anomalyclip_med.exports.seal import EMPTY, seal
from anomalyclip_med.networks import AnomalyCLIP, SingleTensorDetector

from .conftest import SIZE, rgb


def test_stands_in_for_the_detector(detector: AnomalyCLIP, onnx_file: Path) -> None:
    loaded = load_detector(onnx_file)
    for count in (1, 3):
        expected = SingleTensorDetector(detector)(rgb(count))
        torch.testing.assert_close(SingleTensorDetector(loaded)(rgb(count)), expected, rtol=0, atol=1e-5)
        # As the evaluation runs it, with classes that its texts do not name.
        network = PromptTraining(loaded).eval()
        torch.testing.assert_close(network(network.encode(rgb(count)), ["skin"] * count), expected, rtol=0, atol=1e-5)
    sha256 = hashlib.sha256(onnx_file.read_bytes()).hexdigest()
    assert loaded.describe() == {**detector.describe(), "file": "detector.onnx", "file_sha256": sha256}
    assert loaded.warnings == detector.warnings
    assert loaded.settings() == detector.settings()
    assert loaded.image_size == SIZE
    assert loaded.trained
    assert loaded.losses == ()
    with pytest.raises(ConfigurationError, match=r"expected images of shape \(B, 3, 56, 56\), got \(1, 3, 70, 70\)"):
        loaded(rgb(1, 70))
    with pytest.raises(ConfigurationError, match="references: AnomalyCLIP takes no normal images"):
        loaded.remember(loaded.encode_image(rgb(2)), ["0" * 64])
    with pytest.raises(ConfigurationError, match="only AnomalyCLIP"):
        export_detector(loaded, onnx_file.with_name("again.onnx"))


@pytest.mark.parametrize("threads", [1, 2])
def test_takes_as_many_threads_as_torch(onnx_file: Path, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        options = load_detector(onnx_file)._sessions["cpu"].get_session_options()
    finally:
        torch.set_num_threads(before)
    assert options.intra_op_num_threads == threads


def test_without_onnx_runtime_it_is_told_what_to_install(onnx_file: Path, detector, tmp_path, monkeypatch) -> None:
    for package in ("onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
    install = r"is not installed: pip install 'anomalyclip-med\[onnx\]'"
    with pytest.raises(ConfigurationError, match=f"onnxruntime {install}"):
        load_detector(onnx_file)
    with pytest.raises(ConfigurationError, match=f"onnxscript {install}"):
        export_detector(detector, tmp_path / "a.onnx")


def test_altered_and_foreign_files_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    content = onnx_file.read_bytes()
    odd = tmp_path / "odd.onnx"
    middle = len(content) // 2
    plain = onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], []))
    plain.metadata_props.append(onnx.StringStringEntryProto(key="sha256", value=EMPTY.decode()))
    for changed in (
        content[:middle],
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        content + b"\x00",
        plain.SerializeToString(),
    ):
        odd.write_bytes(changed)
        with pytest.raises(WeightsError, match=r"odd\.onnx: not as 'anomalyclip-med export' writes a detector"):
            load_detector(odd)
    seal(odd)
    with pytest.raises(WeightsError, match=r"odd\.onnx: .*(ONNX Runtime cannot load it|no detector)"):
        load_detector(odd)
    odd.write_bytes(bytes(100) + EMPTY)
    seal(odd)
    with pytest.raises(WeightsError, match=r"odd\.onnx: ONNX Runtime cannot load it"):
        load_detector(odd)
    with pytest.raises(WeightsError, match=r"absent\.onnx: no such file"):
        load_detector(tmp_path / "absent.onnx")
