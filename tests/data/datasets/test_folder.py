"""One's own images: by table, by names of folders, by masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyclip_med.data.datasets import Prepared, prepare
from anomalyclip_med.errors import ConfigurationError

from .conftest import Make


def entries(prepared: Prepared, section: str = "test") -> dict[str, tuple]:
    listed = prepared.datalist().get(section, [])
    return {e["image"]: tuple(e[k] for k in ("mask", "label", "class", "defect", "group")) for e in listed}


def test_a_table(tmp_path: Path, make: Make) -> None:
    make("scans/a.png", "scans/b.png", "scans/deep/c.png", "scans/d.png")
    make("truth/b1.png", "truth/b2.png", mask=True)
    table = """File Name,Label,mask,Class,Finding,Patient ID,Split
scans/a.png,normal,,knee,,p1,train
b,1,truth/b1.png; truth/b2.png,knee,tear,p2,test
c.png,healthy,,hip,,p3,test
nowhere.png,0,,,,,
"""
    (tmp_path / "my table.csv").write_text(table)
    prepared = prepare("folder", tmp_path)
    assert entries(prepared, "training") == {"scans/a.png": (None, 0, "knee", "", "p1")}
    assert entries(prepared) == {
        "scans/b.png": (["truth/b1.png", "truth/b2.png"], 1, "knee", "tear", "p2"),
        "scans/deep/c.png": (None, 0, "hip", "", "p3"),
    }
    found = {p.kind: [f.name for f in p.files] for p in prepared.problems}
    assert found == {"image-missing": [], "left-out": ["d.png"]}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_table_of_a_spreadsheet(tmp_path: Path, make: Make, separator: str) -> None:
    make("a.png", "b.png", "c.png", "d.png")
    make("m.png", "n.png", mask=True)
    rows = [
        ("image", "anomaly", "mask"),
        ("a", "1", "m.png|n.png"),
        ("b ", " no", ""),
        ("c", "1.0", ""),
        ("d", "0.0", ""),
    ]
    (tmp_path / "t.csv").write_text("\n".join(separator.join(row) for row in rows), encoding="utf-8-sig")
    assert entries(prepare("folder", tmp_path)) == {
        "a.png": (["m.png", "n.png"], 1, "object", "", ""),
        "b.png": (None, 0, "object", "", ""),
        "c.png": (None, 1, "object", "", ""),
        "d.png": (None, 0, "object", "", ""),
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,label\na.png,perhaps\n", "line 2 has the label 'perhaps'"),
        ("image,label,mask\na.png,1,m.png\n", r"line 2 names m\.png, which does not exist"),
        ("image,label,split\na.png,1,later\n", "line 2 has the section 'later'"),
        ("image,label\nx.png,1\n", "no row names an image"),
        ("image,label\na.png,\xe9\n".encode("latin-1"), "not a readable table"),
        ("image,label\nb.png,1\n", r"'b\.png' fits several files"),
    ],
)
def test_mistakes_in_a_table(tmp_path: Path, make: Make, table: str | bytes, message: str) -> None:
    make("a.png", "one/b.png", "two/b.png")
    (tmp_path / "labels.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    with pytest.raises(ConfigurationError, match=message):
        prepare("folder", tmp_path)


def test_a_row_for_each_mask_is_one_image(tmp_path: Path, make: Make) -> None:
    make("a.png", "b.png")
    make("m.png", "n.png", mask=True)
    make("empty.png", mask=True, value=0)
    (tmp_path / "t.csv").write_text("image,label,mask\na,1,m.png\nb,,empty.png\na,1.0,n.png\na,1,m.png\nb,,n.png\n")
    assert entries(prepare("folder", tmp_path)) == {
        "a.png": (["m.png", "n.png"], 1, "object", "", ""),
        "b.png": (["empty.png", "n.png"], 1, "object", "", ""),
    }
    assert prepare("folder", tmp_path).counts == {"test": (0, 2)}


def test_several_tables_are_sections(tmp_path: Path, make: Make) -> None:
    make(*(f"{name}.png" for name in "abcd"))
    (tmp_path / "Train_labels.csv").write_text("image,label\na,0\nb,1\n")
    (tmp_path / "test.csv").write_text("image,label\nc,0\nd,0\n")
    (tmp_path / "notes.csv").write_text("who,when\nme,now\n")
    prepared = prepare("folder", tmp_path)
    assert prepared.counts == {"training": (1, 1), "test": (2, 0)}
    assert [p.kind for p in prepared.problems] == ["class-missing"]
    for name in ("more.csv", "test_2.csv"):
        (tmp_path / name).write_text("image,label\na,1\n")
        with pytest.raises(
            ConfigurationError, match=r"several tables of images \(.*Train_labels\.csv.*name them train"
        ):
            prepare("folder", tmp_path)
        (tmp_path / name).unlink()


@pytest.mark.parametrize("normal", ["normal", "Good", "no", "Healthy", "No Finding"])
def test_folders_named_after_labels(tmp_path: Path, make: Make, normal: str) -> None:
    make(f"{normal}/1.png", "fracture/1.png", "Effusion/images/2.jpg")
    assert entries(prepare("folder", tmp_path, class_name="wrist")) == {
        f"{normal}/1.png": (None, 0, "wrist", "", ""),
        "fracture/1.png": (None, 1, "wrist", "fracture", ""),
        "Effusion/images/2.jpg": (None, 1, "wrist", "Effusion", ""),
    }


def test_folders_of_several_sites_are_all_taken(tmp_path: Path, make: Make) -> None:
    make(*(f"sites/{site}/{label}/00{n}.png" for site in "AB" for label in ("normal", "abnormal") for n in (0, 1)))
    make("sites/C/normal/7.png", "sites/C/abnormal/8.png")
    shutil.copytree(tmp_path / "sites" / "A", tmp_path / "sites" / "copy")
    prepared = prepare("folder", tmp_path)
    assert prepared.counts == {"test": (5, 5)}
    assert [(p.kind, p.detail, len(p.files)) for p in prepared.problems] == [
        ("left-out", "a second copy of sites/A", 4)
    ]


def test_folders_named_after_labels_with_masks_beside(tmp_path: Path, make: Make) -> None:
    make("test/normal/x (1).png", "test/tumour/x (1).png", "train/normal/y.png")
    make("test/tumour/x (1)_mask.png", "test/tumour/x (1)_mask_1.png", mask=True)
    prepared = prepare("folder", tmp_path)
    masks = ["test/tumour/x (1)_mask.png", "test/tumour/x (1)_mask_1.png"]
    assert entries(prepared)["test/tumour/x (1).png"] == (masks, 1, tmp_path.name, "tumour", "")
    assert prepared.counts == {"training": (1, 0), "test": (1, 1)}


def test_folders_as_mvtec_has_them(tmp_path: Path, make: Make) -> None:
    make("wrist/train/normal/1.png", "wrist/test/normal/2.png", "wrist/test/fracture/3.png")
    make("wrist/ground_truth/fracture/3.png", mask=True)
    prepared = prepare("folder", tmp_path)
    assert entries(prepared)["wrist/test/fracture/3.png"] == (
        "wrist/ground_truth/fracture/3.png",
        1,
        "wrist",
        "fracture",
        "",
    )
    assert prepared.counts == {"training": (1, 0), "test": (1, 1)}


@pytest.mark.parametrize(
    ("image", "mask"),
    [("images/{}.png", "masks/{}.png"), ("{}.png", "{}_mask.png"), ("val_images/{}.jpg", "val_masks/{}.png")],
)
def test_masks_tell_what_is_anomalous(tmp_path: Path, make: Make, image: str, mask: str) -> None:
    make(*(image.format(name) for name in "abc"))
    make(mask.format("a"), mask=True)
    make(mask.format("b"), mask=True, value=0)
    prepared = prepare("folder", tmp_path)
    section = "validation" if "val" in image else "test"
    assert {name: entry[1] for name, entry in entries(prepared, section).items()} == {
        image.format("a"): 1,
        image.format("b"): 0,
        image.format("c"): 0,
    }
    assert [p.kind for p in prepared.warnings] == ["mask-missing"]


def own_masks(root: Path, make: Make, masks: dict[str, int | tuple[int, ...]], palette: bool = False) -> Prepared:
    """Images with masks of these numbers."""
    make(*(f"images/{name}.png" for name in masks))
    (root / "masks").mkdir()
    for name, values in masks.items():
        pixels = np.zeros((6, 8), np.uint8)
        pixels[2, : np.size(values)] = values
        image = Image.fromarray(pixels, mode="P" if palette else None)
        if palette:
            image.putpalette([0, 0, 0, 90, 0, 0, 0, 90, 0])
        image.save(root / "masks" / f"{name}.png")
    return prepare("folder", root)


@pytest.mark.parametrize(
    ("masks", "palette"),
    [({"a": 0, "b": 1, "c": 2, "d": (1, 4)}, False), ({"a": 0, "b": 100, "c": 127}, False), ({"a": 0, "b": 1}, True)],
)
def test_masks_of_small_numbers_are_not_lost(
    tmp_path: Path, make: Make, masks: dict[str, int | tuple[int, ...]], palette: bool
) -> None:
    prepared = own_masks(tmp_path, make, masks, palette)
    assert [e[1] for e in entries(prepared).values()] == [0] + [1] * (len(masks) - 1)
    assert prepared.datalist()["mask_rule"] == "stored>0"
    assert [p.kind for p in prepared.problems] == ["mask-rule"]


def test_masks_that_the_rule_empties_are_told(tmp_path: Path, make: Make) -> None:
    prepared = own_masks(tmp_path, make, {"a": 0, "b": 255, "c": 60})
    assert [e[1] for e in entries(prepared).values()] == [0, 1, 1]
    assert prepared.datalist()["mask_rule"] == "half"
    assert [(p.kind, [f.name for f in p.files]) for p in prepared.warnings] == [("mask-empty", ["c.png"])]


def test_usual_masks_keep_the_usual_rule(tmp_path: Path, make: Make) -> None:
    prepared = own_masks(tmp_path, make, {"a": 0, "b": 1})
    assert (prepared.datalist()["mask_rule"], prepared.problems) == ("half", ())


def test_images_alone_are_not_enough(tmp_path: Path, make: Make) -> None:
    make("a.png", "b.png")
    with pytest.raises(ConfigurationError, match="not laid out as 'folder' is"):
        prepare("folder", tmp_path)
