"""Programs for other runtimes give what the detector gives, for any number of images, and tell what they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from anomalyclip_med import create_model
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.exports import export_detector, graphs
from anomalyclip_med.networks import AnomalyCLIP, SingleTensorDetector
from tests.conftest import snippets

from .conftest import SIZE, rgb

Run = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def opened(path: Path) -> tuple[Run, str]:
    """A program as others run it, without this package, and its metadata."""
    if path.suffix == ".onnx":
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(path)
        names = [output.name for output in session.get_outputs()]
        assert names == ["score", "anomaly_map"]
        told = session.get_modelmeta().custom_metadata_map["anomalyclip_med"]
        return lambda images: [torch.from_numpy(v) for v in session.run(None, {"image": images.numpy()})], told
    files = {"anomalyclip_med.json": ""}
    if path.suffix == ".ts":
        return torch.jit.load(path, _extra_files=files), files["anomalyclip_med.json"]
    program = torch.export.load(path, extra_files=files).module()
    return program, files["anomalyclip_med.json"]


def assert_equal_to(detector: AnomalyCLIP, path: Path) -> None:
    run, told = opened(path)
    network = SingleTensorDetector(detector)
    for count in (1, 3):
        images = rgb(count, detector.image_size)
        expected = network(images)
        score, anomaly_map = run(images)
        torch.testing.assert_close(score, expected[:, 1, 0, 0], rtol=0, atol=1e-5)
        torch.testing.assert_close(anomaly_map, expected[:, :1], rtol=0, atol=1e-5)
        assert not score.requires_grad
    record = json.loads(told.decode() if isinstance(told, bytes) else told)
    assert record["model"] == json.loads(json.dumps(detector.describe()))
    assert record["image_mean"] == list(detector.image_mean)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("suffix", [".ts", ".pt2"])
def test_torch_programs_equal_the_detector(detector: AnomalyCLIP, tmp_path: Path, suffix: str) -> None:
    path = export_detector(detector, tmp_path / f"detector{suffix}")
    assert_equal_to(detector, path)
    # The vision tower, without the text tower, the vocabulary alone of which is 25 MB.
    assert path.stat().st_size < 1.5 * sum(p.nbytes for p in detector.vision.parameters())


def test_onnx_equals_the_detector(detector: AnomalyCLIP, onnx_file: Path) -> None:
    assert_equal_to(detector, onnx_file)
    assert [p.name for p in onnx_file.parent.iterdir()] == ["detector.onnx"]  # no external data
    model = onnx.load(onnx_file)
    onnx.checker.check_model(model)
    assert onnx_file.stat().st_size < 1.5 * sum(p.nbytes for p in detector.vision.parameters())
    dimension = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dimension] == [0, 3, SIZE, SIZE]


def test_the_example_of_the_documentation(
    detector: AnomalyCLIP, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    shutil.copy(onnx_file, tmp_path / "detector.onnx")
    monkeypatch.chdir(tmp_path)
    (code,) = snippets("docs/deployment.md", "onnxruntime")
    names: dict[str, Any] = {}
    exec(code, names)
    assert (names["score"].shape, names["anomaly_map"].shape) == ((1,), (1, 1, SIZE, SIZE))
    assert names["about"]["model"]["clip_sha256"] == detector.backbone_sha256


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("suffix", [".ts", ".pt2", ".onnx"])
def test_as_deep_as_the_papers(tmp_path: Path, suffix: str) -> None:
    detector = create_model("untrained", image_size=70)
    assert_equal_to(detector, export_detector(detector, tmp_path / f"detector{suffix}"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("suffix", [".ts", ".pt2", ".onnx"])
def test_views_are_in_the_program(small_clip: Path, tmp_path: Path, suffix: str) -> None:
    words = {"abnormal": ["worn {}", "torn {}"], "deep_depth": 2}
    detector = create_model(small_clip, image_size=SIZE, scales=[1.5], flip=True, prompt_config=words)
    assert_equal_to(detector, export_detector(detector, tmp_path / f"detector{suffix}"))


def test_onnx_has_room_for_two_gibibytes(detector: AnomalyCLIP, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(graphs, "_MOST_ONNX", 2**20)
    with pytest.raises(ConfigurationError, match=r"detector\.onnx: the weights exceed the 2 GiB of an ONNX file"):
        export_detector(detector, tmp_path / "detector.onnx")
    assert list(tmp_path.iterdir()) == []
