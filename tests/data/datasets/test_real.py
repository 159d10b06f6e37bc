"""The real data sets that are at hand, as they lie there."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from anomalyclip_med.bundle import run_bundle
from anomalyclip_med.data.datasets import Severity, prepare
from anomalyclip_med.engines.evaluation import evaluation_items
from anomalyclip_med.transforms import LoadMaskd

pytestmark = pytest.mark.data

SETS = [
    ("headct", "HeadCT", {"test": (100, 100)}, set()),
    ("brainmri", "BrainMRI", {"test": (98, 155)}, {"duplicate", "wrong-suffix"}),
    ("covid19", "COVID-19_Radiography_Dataset", {"test": (80, 80)}, {"unexpected-count"}),
    ("clinicdb", "CVC-ClinicDB", {"test": (0, 80)}, {"unexpected-count", "left-out", "mask-values"}),
    ("clinicdb", "CVC-ClinicDB/TIF", {"test": (0, 4)}, {"unexpected-count", "mask-values"}),
    ("kvasir", "Kvasir-SEG", {"test": (0, 5)}, {"unexpected-count", "mask-values"}),
    ("tn3k", "TN3K_layout_DERIVED_from_DDTI", {"test": (0, 40)}, {"unexpected-count", "mask-values"}),
    ("ddti", "DDTI_preprocessed", {"test": (0, 100)}, {"unexpected-count"}),
    ("mvtec", "MVTec_AD", {"training": (1, 0), "test": (17, 16)}, {"unexpected-count", "duplicate"}),
    ("magnetic_tile", "MagneticTile", {"test": (50, 125)}, {"unexpected-count", "mask-values", "mask-empty"}),
]


@pytest.mark.parametrize(("name", "folder", "counts", "kinds"), SETS)
def test_counts(real_data: Path, name: str, folder: str, counts: dict, kinds: set[str]) -> None:
    prepared = prepare(name, real_data / folder)
    assert prepared.counts == counts
    assert {p.kind for p in prepared.problems} == kinds
    assert all(p.severity is Severity.NOTE for p in prepared.problems if p.kind != "mask-empty")


def test_hand_drawn_masks_of_brainmri(real_data: Path) -> None:
    prepared = prepare("brainmri", real_data / "BrainMRI", masks=real_data / "BrainMRI_masks")
    assert Counter((s.label, len(s.masks)) for s in prepared.samples) == {(0, 0): 98, (1, 0): 28, (1, 1): 127}
    assert {p.kind: len(p.files) for p in prepared.warnings} == {"mask-missing": 28}


def test_clinicdb_keeps_sequences_together(real_data: Path) -> None:
    groups = {int(s.image.stem): s.group for s in prepare("clinicdb", real_data / "CVC-ClinicDB").samples}
    assert groups[7] == groups[23] == "sequence 1"
    assert groups[180] != groups[171]
    assert groups[609] == "sequence 29"


def some(prepared_list: dict, chosen: slice) -> dict:
    return {**prepared_list, "test": prepared_list["test"][chosen]}


def test_masks_are_cut_by_the_rule(real_data: Path, tmp_path: Path) -> None:
    """JPEG greys: by 'above 0', as the reference has it, the same masks would be wider."""
    root = real_data / "Kvasir-SEG"
    content = prepare("kvasir", root).datalist()
    areas = []
    for rule in ("shown>127", "stored>0"):
        (tmp_path / "list.json").write_text(json.dumps({**content, "mask_rule": rule}))
        items = [LoadMaskd("mask", 518)(item) for item in evaluation_items(tmp_path / "list.json", root)]
        assert all(item["has_mask"] for item in items)
        areas.append(torch.stack([item["mask"] for item in items]).mean().item())
    assert areas[1] > 1.01 * areas[0]


@pytest.mark.parametrize(("name", "folder"), [("headct", "HeadCT"), ("clinicdb", "CVC-ClinicDB/TIF")])
def test_from_the_publishers_folder_to_a_table_of_metrics(
    real_data: Path, tmp_path: Path, name: str, folder: str
) -> None:
    content = prepare(name, real_data / folder).datalist()
    (tmp_path / "list.json").write_text(json.dumps(some(content, slice(98, 102) if name == "headct" else slice(2))))
    run_bundle(
        "anomalyclip_zero_shot",
        ["inference.json", "evaluate.json"],
        clip="untrained",
        image_size=70,
        device="cpu",
        dataset_dir=str(real_data / folder),
        datalist=str(tmp_path / "list.json"),
        output_dir=tmp_path / "out",
    )
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    object_, images, anomalous = ("brain", 4, 2) if name == "headct" else ("colon", 2, 2)
    result = report["classes"][object_]
    assert (result["images"], result["anomalous"]) == (images, anomalous)
    assert (result["image_auroc"] is not None) == (name == "headct")
    assert (result["pixel_auroc"] is not None) == (name == "clinicdb")


def test_what_the_reference_generator_gets_wrong(real_data: Path, tmp_path: Path) -> None:
    """`Normal` is normal, and only the classes that are asked for count."""
    for folder in ("COVID", "Normal"):
        files = sorted((real_data / "COVID-19_Radiography_Dataset" / folder).iterdir())[:2]
        (tmp_path / folder / "images").mkdir(parents=True)
        for file in files:
            shutil.copy(file, tmp_path / folder / "images")
    labels = {e["image"].split("/")[0]: e["label"] for e in prepare("covid19", tmp_path).datalist()["test"]}
    assert labels == {"COVID": 1, "Normal": 0}
