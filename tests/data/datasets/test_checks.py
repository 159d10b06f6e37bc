"""What is odd about files is told by name, and nothing is dropped for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyclip_med.data.datasets import Severity, prepare, shared_files
from anomalyclip_med.errors import ConfigurationError

from .conftest import Make


def problems(root: Path, name: str = "kvasir") -> dict[str, list[str]]:
    return {p.kind: [f.name for f in p.files] for p in prepare(name, root).problems if p.kind != "unexpected-count"}


@pytest.fixture
def pairs(tmp_path: Path, make: Make) -> Path:
    make("images/a.png", "images/b.png")
    make("masks/a.png", "masks/b.png", mask=True)
    return tmp_path


def test_a_whole_set_has_no_problems(pairs: Path) -> None:
    assert problems(pairs) == {}


def test_counts_are_compared_with_the_releases(pairs: Path) -> None:
    (problem,) = prepare("kvasir", pairs).problems
    assert problem.kind == "unexpected-count"
    assert problem.severity is Severity.NOTE
    assert "0 normal and 2 anomalous" in problem.detail
    assert "1000 anomalous (Jha et al. 2020)" in problem.detail


def test_missing_and_extra_files(pairs: Path, make: Make) -> None:
    make("images/c.png")
    make("masks/d.png", mask=True)
    assert problems(pairs) == {"mask-missing": ["c.png"], "image-missing": ["d.png"]}
    assert prepare("kvasir", pairs).counts == {"test": (0, 3)}


def test_sizes(pairs: Path, make: Make) -> None:
    make("masks/b.png", mask=True, size=(6, 8))
    assert problems(pairs) == {"size-mismatch": ["b.png"]}


def test_values(pairs: Path) -> None:
    grey = np.full((6, 8), 3, np.uint8)
    grey[2:4, 2:4] = (240, 255)
    Image.fromarray(grey).save(pairs / "masks" / "a.png")
    Image.fromarray(grey // 2).save(pairs / "masks" / "b.png")
    assert problems(pairs) == {"mask-values": ["a.png", "b.png"], "mask-empty": ["b.png"]}


def test_a_mask_of_a_normal_image_that_the_rule_empties(tmp_path: Path, make: Make) -> None:
    make("normal/n.png", "benign/b.png")
    make("normal/n_mask.png", mask=True, value=9)
    make("benign/b_mask.png", mask=True)
    assert problems(tmp_path, "busi") == {"mask-empty": ["n.png"]}


def test_a_normal_image_with_a_mask(tmp_path: Path, make: Make) -> None:
    make("normal/n.png", "benign/b.png")
    make("normal/n_mask.png", "benign/b_mask.png", mask=True)
    assert problems(tmp_path, "busi") == {"normal-with-mask": ["n.png"]}


def test_damaged_files_stay_in_the_list(pairs: Path) -> None:
    (pairs / "images" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    assert problems(pairs) == {"unreadable": ["a.png"]}
    assert prepare("kvasir", pairs).counts == {"test": (0, 2)}


def test_names_that_tell_a_wrong_format(pairs: Path) -> None:
    for folder in ("images", "masks"):
        (pairs / folder / "a.png").rename(pairs / folder / "a.jpg")
    assert problems(pairs) == {"wrong-suffix": ["a.jpg"]}


def test_pictures_that_are_not_read(pairs: Path) -> None:
    (pairs / "images" / "c.gif").write_bytes(b"GIF89a")
    (pairs / "__MACOSX" / "images").mkdir(parents=True)
    shutil.copy(pairs / "images" / "a.png", pairs / "__MACOSX" / "images" / "._a.png")
    assert problems(pairs) == {"left-out": ["c.gif"]}


def test_links_to_folders_are_told(tmp_path: Path, make: Make) -> None:
    make("set/yes/Y1.jpg", "elsewhere/N1.jpg")
    (tmp_path / "set" / "no").symlink_to(tmp_path / "elsewhere")
    assert problems(tmp_path / "set", "brainmri") == {"class-missing": [], "left-out": ["no"]}


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(b"PK")
    with pytest.raises(ConfigurationError, match="unpack it"):
        prepare("kvasir", tmp_path / "archive.zip")


def test_equal_files(tmp_path: Path, make: Make) -> None:
    make("tn3k/trainval-image/0.jpg", "tn3k/trainval-image/1.jpg", "tn3k/test-image/0.jpg")
    make(*(f"tn3k/{n}.jpg" for n in ("trainval-mask/0", "trainval-mask/1", "test-mask/0")), mask=True)
    images = tmp_path / "tn3k" / "trainval-image"
    shutil.copy(images / "0.jpg", images / "1.jpg")
    found = {p.kind: len(p.files) for p in prepare("tn3k", tmp_path).problems}
    assert found["duplicate"] == 2
    shutil.copy(images / "0.jpg", tmp_path / "tn3k" / "test-image" / "0.jpg")
    prepared = prepare("tn3k", tmp_path)
    assert {p.kind: len(p.files) for p in prepared.warnings} == {"duplicate-across-sections": 3}


def test_a_patient_in_two_sections(tmp_path: Path, make: Make) -> None:
    make("a.png", "b.png", "c.png")
    (tmp_path / "t.csv").write_text("image,label,patient,split\na.png,0,p1,train\nb.png,1,p1,test\nc.png,0,p2,test\n")
    (problem,) = prepare("folder", tmp_path).warnings
    assert (problem.kind, [file.name for file in problem.files]) == ("group-across-sections", ["a.png", "b.png"])


def test_equal_files_with_different_labels(tmp_path: Path, make: Make) -> None:
    make("yes/Y1.jpg", "no/N1.jpg")
    shutil.copy(tmp_path / "yes" / "Y1.jpg", tmp_path / "no" / "N1.jpg")
    assert problems(tmp_path, "brainmri") == {"duplicate-labels": ["N1.jpg", "Y1.jpg"]}


def test_two_data_sets_that_share_files(tmp_path: Path, make: Make) -> None:
    make("a/yes/Y1.jpg", "a/no/N1.jpg", "b/yes/y7.jpg", "b/no/no7.jpg")
    shutil.copy(tmp_path / "a" / "yes" / "Y1.jpg", tmp_path / "b" / "yes" / "y0.jpg")
    for name, folder in (("brainmri", "a"), ("br35h", "b")):
        prepare(name, tmp_path / folder).write(tmp_path / folder / "datalist.json")
    first, second = tmp_path / "a" / "datalist.json", tmp_path / "b" / "datalist.json"
    assert shared_files(first, second) == [("yes/Y1.jpg", "yes/y0.jpg")]
    problem = next(p for p in prepare("br35h", tmp_path / "b", beside=[first]).warnings)
    assert (problem.kind, [f.name for f in problem.files]) == ("shared-files", ["y0.jpg"])
    assert prepare("br35h", tmp_path / "b", beside=[]).warnings == ()
    by_hand = {"test": [{"image": "yes/y0.jpg", "label": 1}]}  # without hashes: the files are read
    second.write_text(json.dumps(by_hand))
    assert shared_files(first, second) == [("yes/Y1.jpg", "yes/y0.jpg")]
    second.write_text("[]")
    with pytest.raises(ConfigurationError, match="not a readable data list"):
        shared_files(first, second)


def test_masks_by_others(tmp_path: Path, make: Make) -> None:
    make("set/yes/Y1.jpg", "set/yes/Y2.JPG", "set/no/N1.jpg")
    make("hand/masks/y2.jpg", "hand/masks/Y9.jpg", mask=True)
    prepared = prepare("brainmri", tmp_path / "set", masks=tmp_path / "hand")
    masks = {e["image"]: e["mask"] for e in prepared.datalist()["test"]}
    assert masks == {"no/N1.jpg": None, "yes/Y1.jpg": None, "yes/Y2.JPG": "../hand/masks/y2.jpg"}
    found = {p.kind: [f.name for f in p.files] for p in prepared.warnings}
    assert found == {"image-missing": ["Y9.jpg"], "mask-missing": ["Y1.jpg"]}
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigurationError, match="no masks there"):
        prepare("brainmri", tmp_path / "set", masks=tmp_path / "none")
