"""The bundles as MONAI runs them: results, geometry, refusals, exports."""

from __future__ import annotations

import csv
import errno
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from unittest import mock

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
from PIL import Image
from pydicom.data import get_testdata_file
from torch import nn

from anomalyclip_med import create_model
from anomalyclip_med.bundle import bundle_dir, run_bundle
from anomalyclip_med.data import Scan
from anomalyclip_med.engines import handlers
from anomalyclip_med.errors import ConfigurationError, ScanError, WeightsError
from anomalyclip_med.inferers import IncompleteRunError
from anomalyclip_med.networks import PromptLearner, SingleTensorDetector
from anomalyclip_med.writers import MapFile

from .conftest import REPOSITORY, located

BUNDLE = "anomalyclip_zero_shot"
CONFIGS = bundle_dir(BUNDLE) / "configs"


def monai_bundle(command: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python -m monai.bundle` as a user types it."""
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", command, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


AS_TYPED = ("--clip", "untrained", "--show_names", "True")


class BrightnessNetwork(nn.Module):
    """Stands in for the detector where geometry is tested: the map is the picture, the score its maximum."""

    def forward(self, images: torch.Tensor, class_names: list[str] | None = None) -> torch.Tensor:
        brightness = images.mean(dim=1, keepdim=True)
        return torch.cat([brightness, brightness.amax(dim=(2, 3), keepdim=True).expand_as(brightness)], dim=1)


UNTRAINED = {"clip": "untrained", "device": "cpu", "show_names": True}
BRIGHTNESS = {"network_def": {"_target_": "tests.test_bundle.BrightnessNetwork"}, **UNTRAINED}


def phantom(orientation: tuple[tuple[int, int, int], tuple[int, int, int]]) -> tuple[nib.Nifti1Image, np.ndarray]:
    """An oblique-free volume with three different blobs, its axes permuted and flipped; and the hot point in mm."""
    values = np.zeros((18, 24, 10), np.float32)
    values[2:6, 3:9, 1:4] = 0.3
    values[11:14, 15:18, 6:8] = 1.0
    values[4:7, 17:20, 8] = 0.6
    affine = np.array([[-1.5, 0, 0, 20], [0, 2.0, 0, -30], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    hot = affine @ [12, 16, 6.5, 1]
    axes, flips = orientation
    ornt = np.column_stack([axes, flips])
    turned = nib.orientations.apply_orientation(values, ornt)
    affine = affine @ nib.orientations.inv_ornt_aff(ornt, values.shape)
    return nib.Nifti1Image(np.ascontiguousarray(turned), affine), hot[:3]


ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def centre_of_mass(image: nib.Nifti1Image, above: float) -> np.ndarray:
    values = np.asarray(image.dataobj)
    voxels = np.argwhere(values > above)
    weights = values[values > above]
    return image.affine[:3, :3] @ np.average(voxels, axis=0, weights=weights) + image.affine[:3, 3]


@pytest.mark.parametrize("plane", ["auto", "coronal", "sagittal"])
def test_the_map_lands_on_the_right_voxels_in_all_48_orientations(tmp_path: Path, plane: str) -> None:
    assert len(ORIENTATIONS) == 48
    (tmp_path / "in").mkdir()
    for number, orientation in enumerate(ORIENTATIONS):
        nib.save(phantom(orientation)[0], tmp_path / "in" / f"p{number:02d}.nii.gz")
    run_bundle(
        BUNDLE,
        ["inference.json"],
        dataset_dir=tmp_path / "in",
        output_dir=tmp_path / "out",
        image_size=98,
        plane=plane,
        window=[0.5, 1.0],
        top_slices=0,
        **BRIGHTNESS,
    )
    canonical = None
    for number, orientation in enumerate(ORIENTATIONS):
        source, hot = phantom(orientation)
        result = nib.load(tmp_path / "out" / f"p{number:02d}" / f"p{number:02d}_map.nii.gz")
        assert result.shape == source.shape
        np.testing.assert_allclose(result.affine, source.affine, atol=1e-6)
        np.testing.assert_allclose(centre_of_mass(result, 0.8), hot, atol=0.25)  # an eighth of a voxel
        assert np.abs(np.asarray(result.dataobj) - np.asarray(source.dataobj)).mean() < 0.02
        # Whatever the axis order in the file, the model saw the same pictures: the maps agree voxel by voxel.
        in_ras = np.asarray(nib.as_closest_canonical(result).dataobj)
        canonical = in_ras if canonical is None else canonical
        np.testing.assert_allclose(in_ras, canonical, atol=1e-5)


def test_a_mixture_of_scans_through_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm", "examples_ybr_color.dcm"):
        shutil.copy(str(get_testdata_file(name)), folder)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)).save(folder / "photo.jpg")
    nib.save(phantom(ORIENTATIONS[5])[0], folder / "volume.nii.gz")
    (folder / "notes.txt").write_text("not an image")

    run = monai_bundle(
        "run",
        "--config_file",
        str(CONFIGS / "inference.json"),
        "--dataset_dir",
        "scans",
        "--output_dir",
        "out",
        "--image_size",
        "70",
        "--top_slices",
        "1",
        *AS_TYPED,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "UNTRAINED" in run.stdout
    assert "43/43" in run.stderr  # a progress bar per slice: 1 + 1 + 30 + 1 + 10

    out = tmp_path / "out"
    report = json.loads((out / "scores.json").read_text())
    assert report["trained"] is False
    assert report["notice"].startswith("UNTRAINED")
    assert len(report["model"]["clip_sha256"]) == 64
    assert [Path(s["file"]).name for s in report["skipped_files"]] == ["notes.txt"]
    series = {entry["scan"]: entry for study in report["studies"] for entry in study["series"]}
    assert sorted(len(s["slices"]) for s in series.values()) == [1, 1, 1, 10, 30]
    for name, entry in series.items():
        scores = [s["score"] for s in entry["slices"]]
        assert entry["score"] == max(scores)
        assert all(0 <= s <= 1 for s in scores)
        image = nib.load(out / name / f"{name}_map.nii.gz")
        assert list(image.shape) == entry["shape"]
        np.testing.assert_allclose(image.affine, entry["affine"], atol=1e-4)
        values = np.asarray(image.dataobj)
        assert 0 <= values.min() <= values.max() <= 1
        assert b"UNTRAINED" in image.header["descrip"].item()
        sidecar = json.loads((out / name / f"{name}_map.json").read_text())
        assert sidecar["model"] == report["model"]
        assert sidecar["notice"] == report["notice"]
        assert sidecar["affine"] == entry["affine"]
        assert sidecar["slices"] == entry["slices"]
        assert all((out / output).is_file() for output in entry["outputs"])
        assert len(list((out / name).glob("*_overlay_*.png"))) == 1
        assert (out / name / f"{name}_map.png").exists() == (len(scores) == 1)

    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [sum(r["level"] == level for r in rows) for level in ("study", "series", "slice")] == [5, 5, 43]
    assert {r["weights"] for r in rows} == {"UNTRAINED"}
    by_slice = {(r["scan"], int(r["slice"])): float(r["score"]) for r in rows if r["level"] == "slice"}
    for name, entry in series.items():
        for s in entry["slices"]:
            assert by_slice[name, s["slice"]] == pytest.approx(s["score"], abs=1e-6)


def test_the_default_is_the_offline_backbone_with_its_shipped_embeddings(
    tmp_path: Path, offline_cache: Path, monkeypatch
) -> None:
    """A bright disc on a plain ground lights up where it is, and nothing claims to be untrained."""
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(offline_cache))
    rows, columns = np.mgrid[:224, :224]
    disc = (rows - 80) ** 2 + (columns - 140) ** 2 < 25**2
    rng = np.random.default_rng(0)
    picture = np.where(disc, 190, 90) + rng.normal(0, 6, (224, 224))
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(tmp_path / "disc.png")
    options = {"dataset_dir": tmp_path, "output_dir": tmp_path / "out", "device": "cpu", "show_names": True}
    run_bundle(BUNDLE, ["inference.json"], **options)
    report = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert report["trained"] is True
    assert report["notice"] is None
    assert any("training data are undisclosed" in w for w in report["warnings"])
    anomaly_map = np.asarray(Image.open(tmp_path / "out" / "disc" / "disc_map.png")) / 255
    assert anomaly_map[disc].mean() > 2 * anomaly_map[~disc].mean()


def test_scores_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    nib.save(phantom(ORIENTATIONS[0])[0], tmp_path / "volume.nii.gz")
    maps = []
    for batch_size in (1, 7):
        out = tmp_path / f"out{batch_size}"
        options = {"image_size": 70, "batch_size": batch_size, "top_slices": 0, **UNTRAINED}
        run_bundle(BUNDLE, ["inference.json"], dataset_dir=tmp_path / "volume.nii.gz", output_dir=out, **options)
        maps.append(np.asarray(nib.load(out / "volume" / "volume_map.nii.gz").dataobj))
    np.testing.assert_allclose(maps[0], maps[1], rtol=0, atol=1e-5)


def test_the_text_tower_runs_once_in_a_whole_run(tmp_path: Path) -> None:
    nib.save(phantom(ORIENTATIONS[0])[0], tmp_path / "volume.nii.gz")
    options = {"image_size": 70, "batch_size": 2, "top_slices": 0, **UNTRAINED}
    with mock.patch.object(PromptLearner, "forward", autospec=True, side_effect=PromptLearner.forward) as text_tower:
        run_bundle(BUNDLE, ["inference.json"], dataset_dir=tmp_path, output_dir=tmp_path / "out", **options)
    assert text_tower.call_count == 1


def test_switches_beyond_the_paper_reach_the_model_and_its_provenance(tmp_path: Path) -> None:
    """A reference is its own nearest neighbour: half of its score is left. Nothing tells of switches that are off."""
    rng = np.random.default_rng(0)
    for name in ("normal", "other"):
        Image.fromarray(rng.integers(0, 255, (70, 70, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    switches = {"flip": True, "scales": [1.4], "feature_layers": [-1], "prompt_config": {"abnormal": ["worn", "torn"]}}
    options = {"dataset_dir": [tmp_path / "normal.png", tmp_path / "other.png"], "image_size": 70, **UNTRAINED}
    runs = {"plain": {}, "views": switches, "memory": {**switches, "references": tmp_path / "normal.png"}}
    runs["faster"] = {"skip_background": True, "precision": "int8"}
    reports = {}
    for run, more in runs.items():
        run_bundle(BUNDLE, ["inference.json"], output_dir=tmp_path / run, **options, **more)
        reports[run] = json.loads((tmp_path / run / "scores.json").read_text())
    models = {run: report["model"] for run, report in reports.items()}
    assert not {"flip", "scales", "references"} & models["plain"].keys()
    assert models["faster"] == {**models["plain"], "skip_background": True, "precision": "int8"}
    assert models["views"]["flip"] is True
    assert models["views"]["scales"] == [1.4]
    assert models["views"]["feature_layers"] == [24]
    assert models["views"]["prompt_config"]["abnormal"] == ["worn", "torn"]
    sha256 = hashlib.sha256((tmp_path / "normal.png").read_bytes()).hexdigest()
    assert models["memory"] == {**models["views"], "references": [sha256]}
    normal, other = (
        [{study["study"]: study["score"] for study in reports[run]["studies"]}[name] for run in ("views", "memory")]
        for name in ("normal", "other")
    )
    assert normal[1] == pytest.approx(normal[0] / 2, abs=1e-4)
    assert other[1] > other[0] / 2 + 0.01


@pytest.mark.parametrize(
    ("references", "error", "message"),
    [
        ("absent", ScanError, "absent: no such file or folder"),
        ("empty", ConfigurationError, "references='empty': 0 images or slices; give 1 to 32"),
        ("broken", ScanError, "references: .*broken.png"),
    ],
)
def test_references_that_cannot_be_read_are_errors(tmp_path: Path, monkeypatch, references, error, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    options = {"dataset_dir": "a.png", "output_dir": "out", "image_size": 70, **UNTRAINED}
    with pytest.raises(error, match=message):
        run_bundle(BUNDLE, ["inference.json"], references=references, **options)


class WaitingNetwork(BrightnessNetwork):
    """Goes on only when a slice of the next batch has been read."""

    read: ClassVar[set[int]] = set()
    batches: ClassVar[int] = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        WaitingNetwork.batches += 1
        coming = 2 * WaitingNetwork.batches
        for _ in range(3000):
            if coming > 9 or coming in self.read:
                return super().forward(images)
            time.sleep(0.01)
        raise AssertionError(f"slice {coming} is not read while the network works")


def test_the_next_slices_are_read_while_the_network_works(tmp_path: Path, monkeypatch) -> None:
    nib.save(phantom(ORIENTATIONS[0])[0], tmp_path / "volume.nii.gz")  # ten slices
    read_slice = Scan.read_slice

    def noted(scan: Scan, index: int) -> np.ndarray:
        WaitingNetwork.read.add(index)
        return read_slice(scan, index)

    monkeypatch.setattr(Scan, "read_slice", noted)
    waiting = BRIGHTNESS | {"network_def": {"_target_": "tests.test_bundle.WaitingNetwork"}, "window": [0.5, 1.0]}
    options = {"image_size": 70, "batch_size": 2, "top_slices": 0, **waiting}
    run_bundle(BUNDLE, ["inference.json"], dataset_dir=tmp_path, output_dir=tmp_path / "out", **options)
    assert WaitingNetwork.batches == 5


class CountingNetwork(BrightnessNetwork):
    """Counts the batches; what ``at`` says happens when one of them begins."""

    begun: ClassVar[int] = 0
    at: ClassVar[dict[int, Callable[[], object]]] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        CountingNetwork.begun += 1
        self.at.get(self.begun, int)()
        return super().forward(images)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Options of a run with two volumes of ten slices each, five batches."""
    monkeypatch.setattr(CountingNetwork, "begun", 0)
    monkeypatch.setattr(CountingNetwork, "at", {})
    network = {"network_def": {"_target_": "tests.test_bundle.CountingNetwork"}, "window": [0.5, 1.0]}
    return BRIGHTNESS | network | {"image_size": 70, "batch_size": 4, "top_slices": 1}


def two_volumes(folder: Path) -> Path:
    folder.mkdir()
    for name, orientation in (("a", ORIENTATIONS[0]), ("b", ORIENTATIONS[29])):
        nib.save(phantom(orientation)[0], folder / f"{name}.nii.gz")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All files of some results but for the log, which tells of the interruption."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*.*") if f.name != "manifest.jsonl"}


def test_maps_are_stored_while_the_network_works(tmp_path: Path, monkeypatch, counting: dict) -> None:
    """The writer goes on only when the network has begun the next batch; one after the other they would never end."""
    source, store, next_batch = two_volumes(tmp_path / "in"), MapFile.store, threading.Event()
    CountingNetwork.at = {2: next_batch.set}

    def waiting(file: MapFile, planes: int) -> None:
        assert next_batch.wait(30), "the network waits for the writer"
        store(file, planes)

    monkeypatch.setattr(MapFile, "store", waiting)
    run_bundle(BUNDLE, ["inference.json"], dataset_dir=source, output_dir=tmp_path / "out", **counting)
    assert CountingNetwork.begun == 5


def interrupt() -> None:
    raise KeyboardInterrupt


def fail() -> None:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize("stop", [interrupt, fail])
def test_a_run_that_is_stopped_in_a_scan_goes_on_to_the_same_files(tmp_path: Path, counting: dict, stop) -> None:
    """What the network has scored before is written; of the scan in hand nothing is left behind."""
    counting["dataset_dir"] = two_volumes(tmp_path / "in")
    run_bundle(BUNDLE, ["inference.json"], output_dir=tmp_path / "whole", **counting)
    CountingNetwork.begun, CountingNetwork.at = 0, {4: stop}
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        run_bundle(BUNDLE, ["inference.json"], output_dir=tmp_path / "out", **counting)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "manifest.jsonl"]
    run_bundle(BUNDLE, ["inference.json"], output_dir=tmp_path / "out", **counting)
    assert CountingNetwork.begun == 4 + 3  # ten slices of "b" alone
    assert files(tmp_path / "out") == files(tmp_path / "whole")


class FullDisk(MapFile):
    """Has no room for the map of "a" after its first slices."""

    def __init__(self, path: Path, anomaly_map: np.ndarray, scan: Scan, description: str) -> None:
        super().__init__(path, anomaly_map, scan, description)
        self.room = 3 if scan.name == "a" else 100

    def store(self, planes: int) -> None:
        if planes > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().store(planes)


def test_a_map_that_cannot_be_stored_loses_nothing_else(tmp_path: Path, monkeypatch, counting: dict) -> None:
    source = two_volumes(tmp_path / "in")
    run_bundle(BUNDLE, ["inference.json"], dataset_dir=source, output_dir=tmp_path / "whole", **counting)
    monkeypatch.setattr(handlers, "MapFile", FullDisk)
    out = tmp_path / "out"
    with pytest.raises(IncompleteRunError, match=r"1 scan\(s\) not written; the first because: a: its files.*No space"):
        run_bundle(BUNDLE, ["inference.json"], dataset_dir=source, output_dir=out, **counting)
    assert not list(out.glob(".partial-*"))
    assert list((out / "a").iterdir()) == []
    complete = {name: content for name, content in files(tmp_path / "whole").items() if name.startswith("b/")}
    assert {name: content for name, content in files(out).items() if name.startswith("b/")} == complete
    report = json.loads((out / "scores.json").read_text())
    assert [study["score"] is None for study in report["studies"]] == [False, False]


def test_an_error_of_the_writer_ends_the_run_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch, counting: dict
) -> None:
    counting["dataset_dir"] = two_volumes(tmp_path / "in")
    run_bundle(BUNDLE, ["inference.json"], output_dir=tmp_path / "whole", **counting)
    allocations = iter([None, OSError(errno.ENOSPC, "No space left on device"), None])

    def allocate(*_: int) -> None:
        if error := next(allocations):
            raise error

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with pytest.raises(ConfigurationError, match="no room for the map of b"):
        run_bundle(BUNDLE, ["inference.json"], output_dir=tmp_path / "out", **counting)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "manifest.jsonl"]
    run_bundle(BUNDLE, ["inference.json"], output_dir=tmp_path / "out", **counting)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_one_bad_slice_loses_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(picture).save(tmp_path / "in" / name)
    cut = tmp_path / "in" / "b.png"
    cut.write_bytes(cut.read_bytes()[:900])
    with pytest.raises(IncompleteRunError, match=r"1 slice\(s\) not scored.*b\.png"):
        run_bundle(
            BUNDLE,
            ["inference.json"],
            dataset_dir=tmp_path / "in",
            output_dir=tmp_path / "out",
            image_size=70,
            **BRIGHTNESS,
        )
    report = json.loads((tmp_path / "out" / "scores.json").read_text())
    series = {s["scan"]: s for study in report["studies"] for s in study["series"]}
    assert series["a"]["score"] == series["c"]["score"] is not None
    assert series["b"]["score"] is None
    assert "b.png" in series["b"]["slices"][0]["failure"]
    assert np.isnan(np.asarray(nib.load(tmp_path / "out" / "b" / "b_map.nii.gz").dataobj)).all()


class FailingNetwork(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of memory")


def test_a_failure_of_the_network_ends_the_run(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    failing = {"network_def": {"_target_": "tests.test_bundle.FailingNetwork"}, "image_size": 70, **UNTRAINED}
    with pytest.raises(RuntimeError) as error:
        run_bundle(BUNDLE, ["inference.json"], dataset_dir=tmp_path, output_dir=tmp_path / "out", **failing)
    assert "out of memory" in str(error.value.__cause__)
    assert not (tmp_path / "out" / "scores.json").exists()


def test_a_scan_that_cannot_be_written_loses_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "scores.csv.png"):
        Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "in" / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file where a folder must go")
    options = {"dataset_dir": tmp_path / "in", "output_dir": tmp_path / "out", "image_size": 70, **BRIGHTNESS}
    with pytest.raises(IncompleteRunError, match=r"1 scan\(s\) not written; the first because: a: its files"):
        run_bundle(BUNDLE, ["inference.json"], **options)
    report = json.loads((tmp_path / "out" / "scores.json").read_text())
    series = {s["scan"]: s for study in report["studies"] for s in study["series"]}
    assert "could not be written" in series["a"]["write_failure"]
    assert series["a"]["score"] is not None
    assert len(series["scores.csv_2"]["outputs"]) == 4
    assert (tmp_path / "out" / "scores.csv").is_file()


def test_a_second_run_neither_scores_nor_mixes_with_the_first(tmp_path: Path) -> None:
    nib.save(phantom(ORIENTATIONS[0])[0], tmp_path / "volume.nii.gz")
    options = {"dataset_dir": tmp_path, "output_dir": tmp_path / "results", "image_size": 70, **BRIGHTNESS}
    run_bundle(BUNDLE, ["inference.json"], top_slices=4, **options)
    run_bundle(BUNDLE, ["inference.json"], top_slices=1, **options)
    report = json.loads((tmp_path / "results" / "scores.json").read_text())
    assert [study["study"] for study in report["studies"]] == ["volume"]
    assert len(list((tmp_path / "results" / "volume").glob("*_overlay_*.png"))) == 1


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"output_dir": "a.png/out"}, ConfigurationError, "results cannot be written there"),
        ({"datalist": "list.json"}, ConfigurationError, "unknown option: datalist"),
        ({"dataset_dir": ["$__import__('os').getcwd()"]}, ConfigurationError, "must not begin with"),
        ({"dataset_dir": "absent"}, ScanError, "absent: no such file or folder"),
        ({"dataset_dir": "empty"}, ScanError, "no scan found in .*empty: 0 file"),
        ({"dataset_dir": "text"}, ScanError, "no scan found in .*text: 1 file.*notes.txt"),
        ({"image_siz": 70}, ConfigurationError, r"unknown option: image_siz \(did you mean image_size\?\)"),
        ({"window": "brian"}, ConfigurationError, "window='brian' is unknown"),
        ({"plane": "oblique"}, ConfigurationError, "plane='oblique' is unknown"),
        ({"image_size": 71}, ConfigurationError, "not a multiple of the patch size"),
        ({"clip": "absent.pt"}, WeightsError, "absent.pt"),
        ({"prompts": "absent.pth"}, WeightsError, "absent.pth"),
        ({"top_slices": -1}, ConfigurationError, "top_slices"),
        ({"clip": "$__import__('os').getcwd()"}, ConfigurationError, "must not begin with"),
    ],
)
def test_mistakes_are_errors(tmp_path: Path, monkeypatch, overrides: dict, error: type, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("hello")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    options = {"dataset_dir": "a.png", "output_dir": "out", "image_size": 70, **UNTRAINED, **overrides}
    with pytest.raises(error, match=message):
        run_bundle(BUNDLE, ["inference.json"], **options)
    assert not (tmp_path / "out" / "scores.csv").exists()


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (("--image_siz", "70"), "unknown option: image_siz (did you mean image_size?)"),
        (("--dataset_dir", "absent"), "anomalyclip_med: absent: no such file or folder"),
        (("--prompts", "mine.safetensors"), "anomalyclip_med: mine.safetensors: neither a file nor"),
        (("--network_def#detectr", "1"), "detectr"),
    ],
    ids=lambda value: value[0],
)
def test_mistakes_end_monais_runner_with_an_error(tmp_path: Path, mistake: tuple[str, str], message: str) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    options = {"--config_file": str(CONFIGS / "inference.json"), "--dataset_dir": "a.png", "--image_size": "70"}
    options[mistake[0]] = mistake[1]
    run = monai_bundle("run", *itertools.chain(*options.items()), *AS_TYPED, cwd=tmp_path)
    assert run.returncode != 0
    assert message in "".join(run.stderr.splitlines()[-2:])  # MONAI's own messages have two lines
    assert not (tmp_path / "eval" / "scores.csv").exists()


@pytest.fixture(params=[BUNDLE, "anomalyclip_tn3k_finetuned"])
def configs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of each bundle in turn, seen from a folder that is not the bundle's."""
    monkeypatch.chdir(tmp_path)
    return bundle_dir(request.param) / "configs"


def test_monai_finds_all_properties_it_asks_for(configs: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    workflow = ConfigWorkflow(
        str(configs / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        dataset_dir=tmp_path,
        image_size=70,
        **UNTRAINED,
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_metadata_is_valid(configs: Path) -> None:
    schema = located("ANOMALYCLIP_MED_MONAI", "monai") / "meta_schema_20240725.json"
    verify_metadata(meta_file=str(configs / "metadata.json"), filepath=str(schema))


def test_network_input_and_output_are_as_the_metadata_says(configs: Path) -> None:
    """At the size that the bundle's own backbone has."""
    size = {BUNDLE: 224, "anomalyclip_tn3k_finetuned": 518}[configs.parent.name]
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out(net_id="network_def", **files, clip="untrained", image_size=size, device="cpu")
    with pytest.raises(ConfigurationError, match="expected images of shape"):
        verify_net_in_out(net_id="network_def", **files, clip="untrained", image_size=70, device="cpu")


@pytest.fixture(scope="module")
def exported_weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SingleTensorDetector]:
    """A checkpoint whose prompts differ from those that the configuration starts with."""
    network = SingleTensorDetector(create_model("untrained", image_size=70, seed=5))
    with torch.no_grad():
        network.detector.prompt_learner.ctx_neg.mul_(40)
    path = tmp_path_factory.mktemp("export") / "model.pt"
    torch.save(network.state_dict(), path)
    return path, network


NETWORK = (
    "--net_id",
    "network_def",
    "--meta_file",
    str(CONFIGS / "metadata.json"),
    "--config_file",
    str(CONFIGS / "inference.json"),
    *AS_TYPED,
)


def test_ckpt_export(configs: Path, exported_weights: tuple[Path, SingleTensorDetector], tmp_path: Path) -> None:
    checkpoint, network = exported_weights
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    files |= {"ckpt_file": str(checkpoint), "filepath": "model.ts"}
    ckpt_export(net_id="network_def", **files, clip="untrained", image_size=70)
    images = torch.rand(3, 3, 70, 70)
    torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(images), network(images), rtol=0, atol=1e-5)


def test_ckpt_export_refuses_a_checkpoint_that_is_not_the_whole_network(tmp_path: Path) -> None:
    torch.save({"ctx_pos": torch.zeros(1, 1, 12, 128)}, tmp_path / "prompts.pt")
    files = ("--ckpt_file", "prompts.pt", "--filepath", "model.ts", "--image_size", "70")
    run = monai_bundle("ckpt_export", *NETWORK, *files, cwd=tmp_path)
    assert run.returncode != 0
    assert "Missing key(s) in state_dict" in run.stderr
    assert not (tmp_path / "model.ts").exists()


@pytest.mark.slow
def test_onnx_export(exported_weights: tuple[Path, SingleTensorDetector], tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    checkpoint, network = exported_weights
    files = ("--ckpt_file", str(checkpoint), "--filepath", "model.onnx", "--image_size", "70")
    run = monai_bundle("onnx_export", *NETWORK, *files, "--input_shape", "[1,3,70,70]", cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    images = torch.rand(1, 3, 70, 70)
    (output,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(output, network(images).numpy(), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_network_gives_the_same_results(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (80, 60), dtype=np.uint8)).save(tmp_path / "in" / f"{number}.png")
    scores = []
    for compiled in (False, True):
        options = {**UNTRAINED, "image_size": 70, "batch_size": 2, "compile": compiled}
        options |= {"dataset_dir": str(tmp_path / "in"), "output_dir": str(tmp_path / str(compiled))}
        run_bundle(BUNDLE, ["inference.json"], **options)
        report = json.loads((tmp_path / str(compiled) / "scores.json").read_text())
        scores.append([study["score"] for study in report["studies"]])
        maps = sorted((tmp_path / str(compiled)).glob("*/*_map.nii.gz"))
        scores[-1] += [float(value) for path in maps for value in nib.load(path).get_fdata().ravel()]
    assert len(scores[0]) > 3 * 80 * 60
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=1e-5)


def test_evaluation(tmp_path: Path) -> None:
    """Known maps give known metrics; normal images need no mask; classes are averaged."""
    rng = np.random.default_rng(0)
    entries = []
    for number in range(8):
        anomalous = number % 2
        picture = rng.integers(0, 60, (56, 56), dtype=np.uint8)
        mask = np.zeros((56, 56), np.uint8)
        if anomalous:
            mask[20:30, 10 + number : 30 + number] = 255
            picture[mask > 0] = 200
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        Image.fromarray(mask).save(tmp_path / f"{number}_mask.png")
        entry = {"image": f"{number}.png", "label": anomalous, "class": "brain" if number < 4 else "skin"}
        entries.append({**entry, "mask": f"{number}_mask.png"} if anomalous else entry)
    (tmp_path / "datalist.json").write_text(json.dumps({"test": entries}))
    run_bundle(
        BUNDLE,
        ["inference.json", "evaluate.json"],
        dataset_dir=str(tmp_path),
        output_dir=tmp_path / "out",
        image_size=56,
        **BRIGHTNESS,
    )
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(report["classes"]) == {"brain", "skin"}
    for metric in ("pixel_auroc", "pixel_aupro", "image_auroc", "image_ap"):
        assert report["mean"][metric] == pytest.approx(1.0)
    assert report["classes"]["skin"]["images"] == 4
    assert report["classes"]["skin"]["anomalous"] == 2


def labelled_pictures(folder: Path, count: int = 9) -> None:
    """Two classes with noise that the masks lift a little, and a data list of them."""
    rng = np.random.default_rng(1)
    entries = []
    for number in range(count):
        mask = np.zeros((56, 56), np.uint8)
        mask[10 : 10 + 5 * (number % 3), 20:40] = 255
        picture = rng.integers(0, 200, (56, 56)) + 30 * (mask > 0)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
        entry = {"image": f"{number}.png", "label": int(mask.any()), "class": "brain" if number % 2 else "skin"}
        entries.append({**entry, "mask": f"{number}_mask.png"})
    (folder / "datalist.json").write_text(json.dumps({"test": entries}))


def evaluated(folder: Path, **options) -> dict:
    run_bundle(
        BUNDLE,
        ["inference.json", "evaluate.json"],
        dataset_dir=str(folder),
        output_dir=folder / "out",
        image_size=56,
        **BRIGHTNESS,
        **options,
    )
    return json.loads((folder / "out" / "metrics.json").read_text())


def test_evaluation_in_bounded_memory_tells_what_the_exact_figures_lie_between(tmp_path: Path) -> None:
    labelled_pictures(tmp_path)
    exact, counted = evaluated(tmp_path), evaluated(tmp_path, max_pixels=3 * 56 * 56)
    for name, record in counted["classes"].items():
        for metric, (low, high) in record["bounds"].items():
            assert low <= exact["classes"][name][metric] <= high
            assert record[metric] == pytest.approx(exact["classes"][name][metric], abs=1e-4)
        assert record["image_auroc"] == exact["classes"][name]["image_auroc"]
        assert exact["classes"][name]["exact"]
        assert not record["exact"]
        assert record["pixel_aupro_reference"] is None
        assert "max_pixels" in record["undefined"]["pixel_aupro_reference"]
        assert exact["classes"][name]["pixel_aupro_reference"] > 0


def test_evaluation_beside_published_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled_pictures(tmp_path)
    report = evaluated(tmp_path, dataset_name="headct")
    assert {"metric": "image_auroc", "percent": 93.4}.items() <= report["published"][0].items()
    printed = capsys.readouterr().out
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    assert table[0] == ["objects", "pixel_auroc", "pixel_aupro", "image_auroc", "image_ap", "pixel_aupro_reference"]
    assert [row[0] for row in table[2:5]] == ["brain", "skin", "mean"]
    assert table[4][1:] == [f"{100 * report['mean'][m]:.1f}" for m in table[0][1:]]
    assert table[5][1:] == ["", "", "93.4", "91.6", ""]
    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    for name, record in report["classes"].items():
        assert float(rows[name]["pixel_aupro"]) == record["pixel_aupro"]
        low, high = record["intervals"]["image_auroc"]
        assert (float(rows[name]["image_auroc_low"]), float(rows[name]["image_auroc_high"])) == (low, high)
        assert low <= record["image_auroc"] <= high
    assert Image.open(tmp_path / "out" / "curves.png").size[0] > 600
    # Figures up to another rate cannot be compared.
    assert evaluated(tmp_path, dataset_name="headct", fpr_limit=0.1)["published"] == []


def test_masks_of_normal_images_do_not_count_and_lost_ones_are_told(tmp_path: Path, capsys) -> None:
    labelled_pictures(tmp_path)
    plain = evaluated(tmp_path)["mean"]
    content = json.loads((tmp_path / "datalist.json").read_text())
    large = np.zeros((1000, 1000), np.uint8)
    large[500:502, 500:502] = 255
    Image.fromarray(large).save(tmp_path / "lost_mask.png")
    Image.fromarray(large // 2).save(tmp_path / "lost.png")
    content["test"].append({"image": "lost.png", "mask": "lost_mask.png", "label": 1, "class": "third"})
    for entry in content["test"][:9]:
        if not entry["label"]:
            Image.fromarray(np.full((56, 56), 255, np.uint8)).save(tmp_path / entry["mask"])
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    report = evaluated(tmp_path)
    assert report["classes"]["third"]["masks_lost"] == 1
    assert "1 mask(s) vanish at the model's input size" in capsys.readouterr().out
    assert report["mean"]["pixel_auroc"] == plain["pixel_auroc"]
    assert report["mean_over_classes"]["pixel_auroc"] == 2


@pytest.mark.parametrize("limit", [0, 30])
def test_a_false_positive_rate_is_a_share(tmp_path: Path, limit: float) -> None:
    labelled_pictures(tmp_path)
    with pytest.raises(ConfigurationError, match=f"fpr_limit={limit} must lie above 0"):
        evaluated(tmp_path, fpr_limit=limit)


def test_evaluation_on_two_ranks_is_that_of_one(tmp_path: Path) -> None:
    labelled_pictures(tmp_path)
    one = evaluated(tmp_path)
    files = [str(CONFIGS / name) for name in ("inference.json", "evaluate.json", "multi_gpu_evaluate.json")]
    network = json.dumps(BRIGHTNESS["network_def"])
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
            *("-m", "monai.bundle", "run", "--config_file", str(files), "--network_def", network),
            *("--dataset_dir", str(tmp_path), "--output_dir", str(tmp_path / "two"), "--image_size", "56", *AS_TYPED),
        ],
        cwd=REPOSITORY,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert two["classes"] == one["classes"]
    assert two["mean"] == one["mean"]


@pytest.mark.parametrize("damage", ["truncated", "mask"])
def test_evaluation_over_part_of_a_test_set_is_no_evaluation(tmp_path: Path, damage: str) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (56, 56), dtype=np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(picture).save(tmp_path / name)
    Image.fromarray(picture[:40] if damage == "mask" else picture).save(tmp_path / "m.png")
    if damage == "truncated":
        (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:900])
    entries = [{"image": "a.png", "label": 0}, {"image": "b.png", "label": 1, "mask": "m.png"}]
    (tmp_path / "datalist.json").write_text(json.dumps({"test": entries}))
    options = {"dataset_dir": str(tmp_path), "output_dir": tmp_path / "out", "image_size": 56, **BRIGHTNESS}
    with pytest.raises(ScanError, match=r"b\.png" if damage == "truncated" else r"m\.png: \(56, 40\) pixels"):
        run_bundle(BUNDLE, ["inference.json", "evaluate.json"], **options)
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_evaluation_without_normal_images_leaves_image_metrics_empty(tmp_path: Path) -> None:
    Image.fromarray(np.full((56, 56), 90, np.uint8)).save(tmp_path / "a.png")
    mask = np.zeros((56, 56), np.uint8)
    mask[:20] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    (tmp_path / "datalist.json").write_text(json.dumps({"test": [{"image": "a.png", "mask": "m.png", "label": 1}]}))
    options = {"dataset_dir": str(tmp_path), "output_dir": tmp_path / "out", "image_size": 56, **BRIGHTNESS}
    run_bundle(BUNDLE, ["inference.json", "evaluate.json"], **options)
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())["classes"]["all"]
    assert result["image_auroc"] is None
    assert "only anomalous" in result["undefined"]["image_auroc"]
    assert result["pixel_auroc"] == 0.5


@pytest.mark.slow
def test_killed_runs_lose_nothing(tmp_path: Path) -> None:
    """200 studies, the process killed three times without a chance to tidy up."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for number in range(200):
        Image.fromarray(rng.integers(0, 255, (20, 30), dtype=np.uint8)).save(tmp_path / "in" / f"{number:03d}.png")
    log = tmp_path / "out" / "manifest.jsonl"
    command = [
        sys.executable,
        "-c",
        "from anomalyclip_med.bundle import run_bundle; from tests.test_bundle import BRIGHTNESS, BUNDLE;"
        f"run_bundle(BUNDLE, ['inference.json'], dataset_dir={str(tmp_path / 'in')!r}, image_size=56, batch_size=2,"
        f"output_dir={str(tmp_path / 'out')!r}, top_slices=0, **BRIGHTNESS)",
    ]

    def finished() -> list[str]:
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event["record"]["study"] for event in events if "record" in event]

    for target in (20, 90, 150):
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(finished()) < target:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert not (tmp_path / "out" / "scores.json").exists()
        for study in finished():
            nib.load(tmp_path / "out" / study / f"{study}_map.nii.gz").get_fdata()
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    names = [f"{number:03d}" for number in range(200)]
    assert sorted(finished()) == names  # each once: none lost, none twice
    report = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [study["study"] for study in report["studies"]] == names
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        [*names, "manifest.jsonl", "scores.csv", "scores.json"]
    )
    for study in report["studies"]:
        (series,) = study["series"]
        picture = np.asarray(Image.open(tmp_path / "in" / f"{study['study']}.png"))
        stored = nib.load(tmp_path / "out" / series["outputs"][0]).get_fdata()
        assert stored.shape == (30, 20, 1)
        assert np.corrcoef(stored[..., 0].T.ravel(), picture.ravel())[0, 1] > 0.9
