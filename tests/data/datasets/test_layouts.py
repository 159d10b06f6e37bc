"""Every data set is found in its publisher's layout, and in those that are in the wild."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyclip_med.data.datasets import DATA_SETS, Prepared, data_set, prepare
from anomalyclip_med.errors import ConfigurationError

from .conftest import Make


def entries(prepared: Prepared, section: str = "test") -> dict[str, tuple]:
    """Image to mask, label, class, defect, group."""
    listed = prepared.datalist().get(section, [])
    return {e["image"]: tuple(e[k] for k in ("mask", "label", "class", "defect", "group")) for e in listed}


def kinds(prepared: Prepared) -> dict[str, list[str]]:
    """Problems and their files, the counts aside, which no tiny set has."""
    return {
        p.kind: [f.relative_to(prepared.root).as_posix() for f in p.files]
        for p in prepared.problems
        if p.kind != "unexpected-count"
    }


@pytest.mark.parametrize("name", ["mvtec", "mpdd", "dtd_synthetic"])
@pytest.mark.parametrize("top", ["", "some where/data/"])
def test_object_folders(tmp_path: Path, make: Make, name: str, top: str) -> None:
    thing = DATA_SETS[name].objects[0]
    make(f"{top}{thing}/train/good/000.png", f"{top}{thing}/test/good/000.png", f"{top}{thing}/test/hole/001.PNG")
    make(f"{top}{thing}/ground_truth/hole/001_mask.png", mask=True)
    prepared = prepare(name, tmp_path)
    assert entries(prepared, "training") == {f"{top}{thing}/train/good/000.png": (None, 0, thing, "", "")}
    assert entries(prepared) == {
        f"{top}{thing}/test/good/000.png": (None, 0, thing, "", ""),
        f"{top}{thing}/test/hole/001.PNG": (f"{top}{thing}/ground_truth/hole/001_mask.png", 1, thing, "hole", ""),
    }
    assert kinds(prepared) == {}


def test_the_folder_of_one_object_is_enough(tmp_path: Path, make: Make) -> None:
    make("bottle/test/good/000.png", "bottle/test/broken_large/000.png")
    make("bottle/ground_truth/broken_large/000_mask.png", mask=True)
    prepared = prepare("MVTec AD", tmp_path / "bottle")
    assert entries(prepared) == {
        "test/good/000.png": (None, 0, "bottle", "", ""),
        "test/broken_large/000.png": ("ground_truth/broken_large/000_mask.png", 1, "bottle", "broken_large", ""),
    }


def test_another_data_set_of_the_same_layout_is_a_warning(tmp_path: Path, make: Make) -> None:
    make("bottle/test/good/000.png", "tubes/test/good/000.png")
    assert [p.kind for p in prepare("mpdd", tmp_path / "bottle").warnings] == ["unexpected-class"]
    prepared = prepare("mpdd", tmp_path)
    assert list(entries(prepared)) == ["tubes/test/good/000.png"]
    assert [p.kind for p in prepared.warnings] == ["unexpected-class"]
    assert kinds(prepared) == {"unexpected-class": ["bottle/test/good/000.png"]}


@pytest.mark.parametrize("name", ["headct", "brainmri", "kvasir"])
def test_a_set_of_one_class_is_one_folder(tmp_path: Path, make: Make, name: str) -> None:
    thing = DATA_SETS[name].objects[0]
    for top in ("HeadCT", "BrainMRI"):
        make(f"{top}/{thing}/test/good/000.png", f"{top}/{thing}/test/defect/000.png")
    assert prepare(name, tmp_path / "HeadCT").counts == {"test": (1, 1)}
    assert prepare(name, tmp_path / "HeadCT").warnings == ()
    with pytest.raises(ConfigurationError, match=rf"\(BrainMRI/{thing}, HeadCT/{thing}\); name the folder"):
        prepare(name, tmp_path)
    (tmp_path / "HeadCT" / thing).rename(tmp_path / "bottle")
    (warned,) = prepare(name, tmp_path / "bottle").warnings
    assert (warned.kind, "the folder is called bottle" in warned.detail) == ("unexpected-class", True)


def test_btad_has_other_words_and_formats(tmp_path: Path, make: Make) -> None:
    make("BTech_Dataset_transformed/01/train/ok/0000.bmp", "BTech_Dataset_transformed/01/test/ok/0001.bmp")
    make("BTech_Dataset_transformed/01/test/ko/0000.bmp")
    make("BTech_Dataset_transformed/01/ground_truth/ko/0000.png", mask=True)
    prepared = prepare("btad", tmp_path)
    place = "BTech_Dataset_transformed/01"
    assert entries(prepared) == {
        f"{place}/test/ok/0001.bmp": (None, 0, "01", "", ""),
        f"{place}/test/ko/0000.bmp": (f"{place}/ground_truth/ko/0000.png", 1, "01", "ko", ""),
    }


VISA = "candle/Data/Images"


def test_visa(tmp_path: Path, make: Make) -> None:
    make(f"VisA/{VISA}/Normal/0000.JPG", f"VisA/{VISA}/Normal/0001.JPG", f"VisA/{VISA}/Anomaly/000.JPG")
    make("VisA/candle/Data/Masks/Anomaly/000.png", mask=True, value=3)  # the number of a kind of defect
    (tmp_path / "VisA" / "split_csv").mkdir()
    rows = [
        "object,split,label,image,mask",
        f"candle,train,normal,{VISA}/Normal/0000.JPG,",
        f"candle,test,normal,{VISA}/Normal/0001.JPG,",
        f"candle,test,anomaly,{VISA}/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png",
    ]
    (tmp_path / "VisA" / "split_csv" / "1cls.csv").write_text("\n".join(rows) + "\n")
    prepared = prepare("visa", tmp_path)
    assert entries(prepared, "training") == {f"VisA/{VISA}/Normal/0000.JPG": (None, 0, "candle", "", "")}
    mask = "VisA/candle/Data/Masks/Anomaly/000.png"
    assert entries(prepared) == {
        f"VisA/{VISA}/Normal/0001.JPG": (None, 0, "candle", "", ""),
        f"VisA/{VISA}/Anomaly/000.JPG": (mask, 1, "candle", "anomaly", ""),
    }
    assert kinds(prepared) == {}
    assert prepared.datalist()["mask_rule"] == "stored>0"

    (tmp_path / "VisA" / "split_csv" / "1cls.csv").write_text("\n".join([*rows[:2], rows[1].replace("0000", "7")]))
    assert "split-missing" in kinds(prepare("visa", tmp_path))
    assert "image-missing" in kinds(prepare("visa", tmp_path))
    (tmp_path / "VisA" / "split_csv" / "1cls.csv").unlink()
    prepared = prepare("visa", tmp_path)
    assert prepared.counts == {"test": (2, 1)}
    assert kinds(prepared) == {"split-missing": []}


def test_visa_as_its_authors_script_writes_it(tmp_path: Path, make: Make) -> None:
    make("VisA_pytorch/1cls/pcb1/train/good/1.JPG", "VisA_pytorch/1cls/pcb1/test/bad/000.JPG")
    make("VisA_pytorch/1cls/pcb1/ground_truth/bad/000.png", mask=True)
    prepared = prepare("visa", tmp_path)
    mask = "VisA_pytorch/1cls/pcb1/ground_truth/bad/000.png"
    assert entries(prepared) == {"VisA_pytorch/1cls/pcb1/test/bad/000.JPG": (mask, 1, "pcb1", "bad", "")}


def palette_label(path: Path, marked: bool) -> None:
    """As KolektorSDD has them: indices 0 and 1, both nearly black."""
    pixels = np.zeros((6, 8), np.uint8)
    pixels[1:3, 1:3] = marked
    image = Image.fromarray(pixels, mode="P")
    image.putpalette([0, 0, 0, 1, 1, 1])
    image.save(path)


def test_kolektor(tmp_path: Path, make: Make) -> None:
    make("KolektorSDD/kos01/Part0.jpg", "KolektorSDD/kos01/Part1.jpg", "KolektorSDD/kos02/Part0.jpg")
    for name, marked in (("kos01/Part0", False), ("kos01/Part1", True), ("kos02/Part0", False)):
        palette_label(tmp_path / "KolektorSDD" / f"{name}_label.bmp", marked)
    prepared = prepare("KolektorSDD", tmp_path)
    place, thing = "KolektorSDD", "electrical commutators"
    assert entries(prepared) == {
        f"{place}/kos01/Part0.jpg": (f"{place}/kos01/Part0_label.bmp", 0, thing, "", "kos01"),
        f"{place}/kos01/Part1.jpg": (f"{place}/kos01/Part1_label.bmp", 1, thing, "defect", "kos01"),
        f"{place}/kos02/Part0.jpg": (f"{place}/kos02/Part0_label.bmp", 0, thing, "", "kos02"),
    }
    assert kinds(prepared) == {}


def test_kolektor_as_the_authors_of_anomalyclip_pass_it_on(tmp_path: Path, make: Make) -> None:
    thing = "electrical commutators"
    make(f"SDD/{thing}/test/good/kos01_Part0_0.png", f"SDD/{thing}/test/defect/kos01_Part5_0.png")
    make(f"SDD/{thing}/ground_truth/defect/kos01_Part5_0.png", mask=True)
    prepared = prepare("sdd", tmp_path)
    mask = f"SDD/{thing}/ground_truth/defect/kos01_Part5_0.png"
    assert entries(prepared) == {
        f"SDD/{thing}/test/good/kos01_Part0_0.png": (None, 0, thing, "", "kos01"),
        f"SDD/{thing}/test/defect/kos01_Part5_0.png": (mask, 1, thing, "defect", "kos01"),
    }


def test_dagm(tmp_path: Path, make: Make) -> None:
    for part in ("Train", "Test"):
        make(f"DAGM_KaggleUpload/Class1/{part}/0576.PNG", f"DAGM_KaggleUpload/Class1/{part}/0577.PNG")
        make(f"DAGM_KaggleUpload/Class1/{part}/Label/0577_label.PNG", mask=True)
        (tmp_path / f"DAGM_KaggleUpload/Class1/{part}/Label/Labels.txt").write_text("1\n")
    prepared = prepare("dagm", tmp_path)
    assert prepared.counts == {"training": (1, 1), "test": (1, 1)}
    place = "DAGM_KaggleUpload/Class1/Test"
    assert entries(prepared) == {
        f"{place}/0576.PNG": (None, 0, "Class1", "", ""),
        f"{place}/0577.PNG": (f"{place}/Label/0577_label.PNG", 1, "Class1", "defect", ""),
    }
    assert kinds(prepared) == {}


def test_masks_that_lie_together_have_one_image_each(tmp_path: Path, make: Make) -> None:
    make("bottle/test/good/000.png", "bottle/test/crack/000.png", "bottle/test/hole/000.png", "bottle/test/hole/7.png")
    make("bottle/test/dent/7.png")
    make(*(f"bottle/ground_truth/{name}_mask.png" for name in ("000", "7", "9")), mask=True)
    make("bottle/ground_truth/dent/7_mask.png", mask=True)
    prepared = prepare("mvtec", tmp_path)
    masks = {name.removeprefix("bottle/test/"): entry[0] for name, entry in entries(prepared).items() if entry[0]}
    truth = "bottle/ground_truth"
    assert masks == {"hole/7.png": f"{truth}/7_mask.png", "dent/7.png": f"{truth}/dent/7_mask.png"}
    found = kinds(prepared)
    assert found["ambiguous-pair"] == [f"{truth}/000_mask.png"]
    assert found["image-missing"] == [f"{truth}/9_mask.png"]
    assert "mask-missing" in found


def test_dagm_without_a_folder_of_labels(tmp_path: Path, make: Make) -> None:
    make(*(f"Class{number}/{part}/0577.PNG" for number in (1, 2) for part in ("Train", "Test")))
    make(*(f"Class1/{part}/Label/0577_label.PNG" for part in ("Train", "Test")), mask=True)
    make("Class2/Train/Label/0577_label.PNG", mask=True)
    (tmp_path / "Class2/Test/Label").mkdir()
    (problem,) = prepare("dagm", tmp_path).warnings
    assert (problem.kind, problem.files) == ("mask-missing", (tmp_path / "Class2/Test/0577.PNG",))


def test_isic(tmp_path: Path, make: Make) -> None:
    for part, number in (("Test", 3), ("Training", 4)):
        make(f"isic/ISBI2016_ISIC_Part1_{part}_Data/ISBI2016_ISIC_Part1_{part}_Data/ISIC_000000{number}.jpg")
        truth = f"isic/ISBI2016_ISIC_Part1_{part}_GroundTruth/ISIC_000000{number}_Segmentation.png"
        make(truth, mask=True)
    make("isic/ISIC-2017_Test_v2_Data/ISIC_0000009.jpg", "isic/ISIC-2017_Test_v2_Data/ISIC_0000009_superpixels.png")
    make("isic/ISIC-2017_Test_v2_Part1_GroundTruth/ISIC_0000009_segmentation.png", mask=True)
    prepared = prepare("isic", tmp_path)
    image = "isic/ISBI2016_ISIC_Part1_Test_Data/ISBI2016_ISIC_Part1_Test_Data/ISIC_0000003.jpg"
    mask = "isic/ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_0000003_Segmentation.png"
    assert entries(prepared) == {image: (mask, 1, "skin", "", "")}
    assert prepared.counts == {"training": (0, 1), "test": (0, 1)}
    assert len(kinds(prepared)["left-out"]) == 3


def test_isic_of_another_year(tmp_path: Path, make: Make) -> None:
    make("ISIC-2017_Test_v2_Data/ISIC_0000009.jpg", "ISIC-2017_Test_v2_Data/ISIC_0000009_superpixels.png")
    make("ISIC-2017_Test_v2_Part1_GroundTruth/ISIC_0000009_segmentation.png", mask=True)
    prepared = prepare("isic", tmp_path)
    assert prepared.counts == {"test": (0, 1)}
    assert kinds(prepared) == {"left-out": ["ISIC-2017_Test_v2_Data/ISIC_0000009_superpixels.png"]}


def test_isic_as_the_authors_of_anomalyclip_pass_it_on(tmp_path: Path, make: Make) -> None:
    make("ISBI/skin/test/bad/ISIC_0000003.jpg", "ISBI/skin/test/bad/ISIC_0000012.jpg")
    for number in ("03", "12"):
        make(f"ISBI/skin/ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_00000{number}_Segmentation.png", mask=True)
    prepared = prepare("isic", tmp_path)
    truth = "ISBI/skin/ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_0000012_Segmentation.png"
    assert entries(prepared)["ISBI/skin/test/bad/ISIC_0000012.jpg"] == (truth, 1, "skin", "bad", "")


@pytest.mark.parametrize(
    ("images", "masks", "suffix"),
    [
        ("PNG/Original", "PNG/Ground Truth", "png"),
        ("TIF/Original", "TIF/Ground Truth", "tif"),
        ("Original", "Ground Truth", "tif"),
        ("CVC-ClinicDB/images", "CVC-ClinicDB/masks", "png"),
        ("a/B c/Original", "a/B c/GroundTruth", "TIF"),
    ],
)
def test_clinicdb(tmp_path: Path, make: Make, images: str, masks: str, suffix: str) -> None:
    make(*(f"{images}/{number}.{suffix}" for number in (1, 25, 26, 612)))
    make(*(f"{masks}/{number}.{suffix}" for number in (612, 25, 26, 1)), mask=True)
    prepared = prepare("clinicdb", tmp_path)
    assert entries(prepared) == {
        f"{images}/{number}.{suffix}": (f"{masks}/{number}.{suffix}", 1, "colon", "", f"sequence {sequence}")
        for number, sequence in ((1, 1), (25, 1), (26, 2), (612, 29))
    }
    assert kinds(prepared) == {}


def test_clinicdb_in_both_formats_and_with_a_table_of_sequences(tmp_path: Path, make: Make) -> None:
    for form in ("PNG", "TIF"):
        make(f"{form}/Original/1.{form.lower()}")
        make(f"{form}/Ground Truth/1.{form.lower()}", mask=True)
    table = "frame_id,sequence_id,tif_image_path,png_image_path\n1,7,TIF/Original/1.tif,PNG/Original/1.png\n"
    (tmp_path / "metadata.csv").write_text(table)
    prepared = prepare("clinicdb", tmp_path)
    assert entries(prepared) == {"PNG/Original/1.png": ("PNG/Ground Truth/1.png", 1, "colon", "", "sequence 7")}
    assert kinds(prepared) == {"left-out": ["TIF/Ground Truth/1.tif", "TIF/Original/1.tif"]}


@pytest.mark.parametrize("top", ["", "CVC-ColonDB/"])
def test_colondb_with_its_original_names(tmp_path: Path, make: Make, top: str) -> None:
    make(*(f"{top}{name}.tiff" for name in ("1", "10", "2", "c1", "c10", "c2")))
    make(*(f"{top}{name}.tiff" for name in ("p1", "p10", "p2")), mask=True)
    prepared = prepare("colondb", tmp_path)
    assert entries(prepared) == {f"{top}{n}.tiff": (f"{top}p{n}.tiff", 1, "colon", "", "") for n in ("1", "10", "2")}
    assert kinds(prepared) == {"left-out": [f"{top}c{n}.tiff" for n in ("1", "10", "2")]}


@pytest.mark.parametrize(("suffix", "prefix"), [("png", ""), ("tiff", "p"), ("tiff", "")])
def test_colondb_in_two_folders(tmp_path: Path, make: Make, suffix: str, prefix: str) -> None:
    make(*(f"CVC-ColonDB/images/{name}.{suffix}" for name in ("1", "10", "2")))
    make(*(f"CVC-ColonDB/masks/{prefix}{name}.{suffix}" for name in ("1", "10", "2")), mask=True)
    found = entries(prepare("colondb", tmp_path))
    assert found["CVC-ColonDB/images/10." + suffix][0] == f"CVC-ColonDB/masks/{prefix}10.{suffix}"
    assert len(found) == 3


def test_a_collection_of_polyps_gives_the_set_that_is_asked_for(tmp_path: Path, make: Make) -> None:
    for number, name in enumerate(("CVC-ClinicDB", "CVC-ColonDB", "Kvasir", "ETIS-LaribPolypDB")):
        make(f"TestDataset/{name}/images/{number}.png")
        make(f"TestDataset/{name}/masks/{number}.png", mask=True)
    for number, name in enumerate(("clinicdb", "colondb", "kvasir")):
        assert list(entries(prepare(name, tmp_path))) == [
            f"TestDataset/{DATA_SETS[name].title.removesuffix('-SEG')}/images/{number}.png"
        ]
    with pytest.raises(ConfigurationError, match="not laid out as 'endo' is"):  # none of the others is taken for it
        prepare("endo", tmp_path)
    make("own/one/images/1.png", "own/two/images/1.png")
    make("own/one/masks/1.png", "own/two/masks/1.png", mask=True)
    with pytest.raises(ConfigurationError, match="not laid out as 'endo' is"):
        prepare("endo", tmp_path)
    with pytest.raises(ConfigurationError, match=r"several folders of images \(one/images, two/images\)"):
        prepare("endo", tmp_path / "own")


@pytest.mark.parametrize(
    ("name", "top"), [("kvasir", "Kvasir-SEG"), ("endo", "EndoTect_2020_Segmentation_Test_Dataset")]
)
def test_pairs_of_jpeg(tmp_path: Path, make: Make, name: str, top: str) -> None:
    make(f"{top}/images/cjub.jpg", f"{top}/images/cjua.JPG")
    make(f"{top}/masks/cjua.jpg", f"{top}/masks/cjub.jpg", mask=True)
    (tmp_path / top / "kavsir_bboxes.json").write_text("{}")
    assert entries(prepare(name, tmp_path)) == {
        f"{top}/images/cjua.JPG": (f"{top}/masks/cjua.jpg", 1, "colon", "", ""),
        f"{top}/images/cjub.jpg": (f"{top}/masks/cjub.jpg", 1, "colon", "", ""),
    }


def sections(prepared: Prepared) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for sample in prepared.samples:
        names.setdefault(sample.section, set()).add(sample.image.name)
    return names


def test_tn3k(tmp_path: Path, make: Make) -> None:
    place = "Thyroid Dataset/tn3k"
    make(*(f"{place}/trainval-image/000{n}.jpg" for n in range(3)), f"{place}/test-image/0000.jpg")
    make(*(f"{place}/trainval-mask/000{n}.jpg" for n in range(3)), f"{place}/test-mask/0000.jpg", mask=True)
    make("Thyroid Dataset/tg3k/thyroid-image/0000.jpg", "Thyroid Dataset/DDTI dataset/p_image/1.PNG")
    folds = {"4": ([1, 2], [0]), "1": ([0, 1], [2]), "0": ([0, 2], [1])}
    for fold, (train, val) in folds.items():  # the lowest number counts
        file = tmp_path / place / f"tn3k-trainval-fold{fold}.json"
        file.write_text(json.dumps({"train": train, "val": val}))
        prepared = prepare("tn3k", tmp_path)
        assert prepared.counts == {"training": (0, 2), "validation": (0, 1), "test": (0, 1)}
        assert list(entries(prepared, "validation")) == [f"{place}/trainval-image/000{val[0]}.jpg"]
        assert f"{file.name} tells training from validation" in prepared.summary()
        assert not prepared.warnings
    assert entries(prepared)[f"{place}/test-image/0000.jpg"][0] == f"{place}/test-mask/0000.jpg"
    file.write_text(json.dumps({"train": [0], "val": [1, 7]}))
    prepared = prepare("tn3k", tmp_path)
    assert [p.kind for p in prepared.warnings] == ["split-differs"]
    assert sections(prepared) == {
        "training": {"0000.jpg", "0002.jpg"},
        "validation": {"0001.jpg"},
        "test": {"0000.jpg"},
    }


def test_tn3k_without_a_readable_fold(tmp_path: Path, make: Make) -> None:
    """A fifth, the same wherever the images lie and whatever else is there."""
    trainval = [f"trainval-image/{n:04d}.jpg" for n in range(20)]
    make(*(f"{top}/{name}" for top in "ab" for name in [*trainval, "test-image/0000.jpg"]))
    masks = [name.replace("image", "mask") for name in [*trainval, "test-image/0000.jpg"]]
    make(*(f"{top}/{name}" for top in "ab" for name in masks), mask=True)
    one, other = (sections(prepare("tn3k", tmp_path / top)) for top in "ab")
    assert one == other
    assert [len(one[section]) for section in ("training", "validation", "test")] == [16, 4, 1]
    assert not one["training"] & one["validation"]
    assert one["validation"] != {f"{n:04d}.jpg" for n in range(16, 20)}
    for content in ("[]", '{"train": [0, 1], "val": [1]}'):
        (tmp_path / "a" / "tn3k-trainval-fold0.json").write_text(content)
        prepared = prepare("tn3k", tmp_path / "a")
        assert [p.kind for p in prepared.warnings] == ["split-unreadable"]
        assert sections(prepared) == one


def test_ddti_is_not_what_lies_beside_it(tmp_path: Path, make: Make) -> None:
    place = tmp_path / "Thyroid Dataset"
    for folder, kind in (("tn3k", "test-"), ("tn3k", "trainval-"), ("tg3k", "thyroid-")):
        make(f"{place.name}/{folder}/{kind}image/1.jpg")
        make(f"{place.name}/{folder}/{kind}mask/1.jpg", mask=True)
    for root in (tmp_path, place, place / "tn3k"):
        with pytest.raises(ConfigurationError, match="not laid out as 'ddti' is"):
            prepare("ddti", root)
    make(f"{place.name}/tn3k/image/1.png", f"{place.name}/sth/image/1.png")
    make(f"{place.name}/tn3k/mask/1.png", f"{place.name}/sth/mask/1.png", mask=True)
    with pytest.raises(ConfigurationError, match="not laid out as 'ddti' is"):
        prepare("ddti", place)
    make(f"{place.name}/DDTI dataset/image/1.PNG")
    make(f"{place.name}/DDTI dataset/mask/1.PNG", mask=True)
    assert list(entries(prepare("ddti", place))) == ["DDTI dataset/image/1.PNG"]
    place.rename(tmp_path / "tn3k")  # the archive's own name
    assert list(entries(prepare("ddti", tmp_path))) == ["tn3k/DDTI dataset/image/1.PNG"]


def test_headct(tmp_path: Path, make: Make) -> None:
    make(*(f"archive/head_ct/head_ct/{n:03d}.png" for n in (0, 1, 100, 101)))
    (tmp_path / "archive" / "labels.csv").write_text("id, hemorrhage\n0,1\n1,1\n100,0\n150,0\n")
    prepared = prepare("headct", tmp_path)
    assert entries(prepared) == {
        f"archive/head_ct/head_ct/{n:03d}.png": (None, label, "brain", "hemorrhage" * label, "")
        for n, label in ((0, 1), (1, 1), (100, 0))
    }
    assert kinds(prepared) == {"image-missing": [], "label-missing": ["archive/head_ct/head_ct/101.png"]}
    (tmp_path / "archive" / "labels.csv").write_text("id, hemorrhage\n0,yes\n")
    with pytest.raises(ConfigurationError, match=r"labels\.csv: line 2 needs an 'id'"):
        prepare("headct", tmp_path)


def test_headct_takes_no_other_numbered_pictures(tmp_path: Path, make: Make) -> None:
    make(*(f"set/Head CT/{n:03d}.png" for n in (0, 1)), "tn3k/test-image/0002.jpg", "set/zz_preview/0.png")
    (tmp_path / "set" / "labels.csv").write_text("id, hemorrhage\n0,1\n1,0\n2,0\n")
    assert list(entries(prepare("headct", tmp_path))) == ["set/Head CT/000.png", "set/Head CT/001.png"]
    (tmp_path / "set" / "Head CT").rename(tmp_path / "set" / "slices")
    with pytest.raises(ConfigurationError, match=r"\(set/slices, set/zz_preview, tn3k/test-image\); name the one"):
        prepare("headct", tmp_path)
    make("set/slices/1.png")
    for other in ("set/zz_preview/0.png", "tn3k/test-image/0002.jpg"):
        (tmp_path / other).unlink()
    with pytest.raises(ConfigurationError, match=r"001\.png and 1\.png have one number"):
        prepare("headct", tmp_path)


@pytest.mark.parametrize("tops", [("",), ("brain_tumor_dataset/",), ("", "brain_tumor_dataset/")])
def test_brainmri_once_and_twice(tmp_path: Path, make: Make, tops: tuple[str, ...]) -> None:
    make(f"{tops[0]}yes/Y1.jpg", f"{tops[0]}no/1 no.jpeg", f"{tops[0]}no/No2.JPG")
    for top in tops[1:]:
        for folder in ("yes", "no"):
            shutil.copytree(tmp_path / tops[0] / folder, tmp_path / top / folder)
    prepared = prepare("brainmri", tmp_path)
    assert entries(prepared) == {
        f"{tops[0]}yes/Y1.jpg": (None, 1, "brain", "yes", ""),
        f"{tops[0]}no/1 no.jpeg": (None, 0, "brain", "", ""),
        f"{tops[0]}no/No2.JPG": (None, 0, "brain", "", ""),
    }
    assert len(kinds(prepared).get("left-out", [])) == 3 * (len(tops) - 1)
    make(f"{tops[-1]}no/No2.JPG")
    if len(tops) > 1:
        with pytest.raises(ConfigurationError, match="both in the top folder and in brain_tumor_dataset; name the"):
            prepare("brainmri", tmp_path)


def test_br35h_leaves_out_what_has_no_label(tmp_path: Path, make: Make) -> None:
    make("yes/y0.jpg", "no/no0.jpg", "pred/pred0.jpg", "Br35H-Mask-RCNN/TRAIN/y0.jpg", "Br35H-Mask-RCNN/TEST/y1.jpg")
    prepared = prepare("br35h", tmp_path)
    assert prepared.counts == {"test": (1, 1)}
    reasons = {p.detail: len(p.files) for p in prepared.problems if p.kind == "left-out"}
    assert reasons == {"images without a label": 1, "copies of images in yes/, for another task": 2}


@pytest.mark.parametrize("normal", ["Normal", "NORMAL", "normal"])
@pytest.mark.parametrize("deep", ["", "images/"])
def test_covid_whatever_the_case_of_its_folders(tmp_path: Path, make: Make, normal: str, deep: str) -> None:
    top = "COVID-19_Radiography_Dataset"
    make(f"{top}/COVID/{deep}COVID-1.png", f"{top}/{normal}/{deep}Normal-1.png", f"{top}/Viral Pneumonia/{deep}V-1.png")
    make(f"{top}/Lung_Opacity/{deep}L-1.png")
    if deep:
        make(f"{top}/COVID/masks/COVID-1.png", f"{top}/{normal}/masks/Normal-1.png", mask=True)
    prepared = prepare("COVID-19", tmp_path)
    assert entries(prepared) == {
        f"{top}/{normal}/{deep}Normal-1.png": (None, 0, "chest", "", ""),
        f"{top}/COVID/{deep}COVID-1.png": (None, 1, "chest", "COVID", ""),
    }
    reasons = {p.detail for p in prepared.problems if p.kind == "left-out"}
    assert ("masks of the lungs, not of lesions" in reasons) == bool(deep)
    assert any(reason.startswith("another finding") for reason in reasons)


def test_a_class_that_is_absent_is_a_warning(tmp_path: Path, make: Make) -> None:
    make("COVID/COVID-1.png", "Healthy/Normal-1.png")
    prepared = prepare("covid19", tmp_path)
    assert prepared.counts == {"test": (0, 1)}
    assert kinds(prepared) == {"class-missing": [], "left-out": ["Healthy/Normal-1.png"]}
    assert [p.kind for p in prepared.warnings] == ["class-missing"]


def test_busi_unites_the_masks_of_an_image(tmp_path: Path, make: Make) -> None:
    top = "Dataset_BUSI_with_GT"
    make(f"{top}/benign/benign (1).png", f"{top}/benign/benign (10).png", f"{top}/malignant/malignant (1).png")
    make(f"{top}/normal/normal (1).png")
    make(f"{top}/normal/normal (1)_mask.png", mask=True, value=0)
    make(f"{top}/benign/benign (1)_mask.png", f"{top}/benign/benign (1)_mask_1.png", mask=True)
    make(f"{top}/benign/benign (10)_mask.png", f"{top}/malignant/malignant (1)_mask.png", mask=True)
    prepared = prepare("busi", tmp_path)
    place = f"{top}/benign/benign"
    assert entries(prepared) == {
        f"{top}/normal/normal (1).png": (f"{top}/normal/normal (1)_mask.png", 0, "breast", "", ""),
        f"{place} (1).png": ([f"{place} (1)_mask.png", f"{place} (1)_mask_1.png"], 1, "breast", "benign", ""),
        f"{place} (10).png": (f"{place} (10)_mask.png", 1, "breast", "benign", ""),
        f"{top}/malignant/malignant (1).png": (f"{top}/malignant/malignant (1)_mask.png", 1, "breast", "malignant", ""),
    }
    assert kinds(prepared) == {}


def test_a_mask_whose_image_is_lost_is_no_image(tmp_path: Path, make: Make) -> None:
    make("benign/benign (1).png", "benign/x_lesion.png", "normal/normal (1).png")
    make("benign/benign (1)_mask.png", "benign/x_lesion_mask.png", "benign/benign (9)_mask.png", mask=True)
    prepared = prepare("busi", tmp_path)
    assert prepared.counts == {"test": (1, 2)}
    assert kinds(prepared) == {"image-missing": ["benign/benign (9)_mask.png"]}


@pytest.mark.parametrize("name", sorted(set(DATA_SETS) - {"visa", "sdd", "folder"}))
def test_nothing_there_tells_what_is_looked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "holiday.txt").write_text("")
    with pytest.raises(ConfigurationError, match=r"not laid out as .* there is holiday\.txt") as error:
        prepare(name, tmp_path)
    assert DATA_SETS[name].layouts[0].text in str(error.value)


def test_names() -> None:
    assert data_set("CVC-ClinicDB").name == data_set("cvc_612").name == "clinicdb"
    with pytest.raises(ConfigurationError, match="did you mean 'kvasir'"):
        data_set("kvasire")
    with pytest.raises(ConfigurationError, match="no such folder"):
        prepare("kvasir", "/nowhere")


def test_every_class_name_is_known_to_the_paper() -> None:
    medical = {name: DATA_SETS[name].objects for name in ("headct", "brainmri", "br35h", "covid19", "isic", "tn3k")}
    assert {o for objects in medical.values() for o in objects} == {"brain", "chest", "skin", "thyroid"}
    assert all(DATA_SETS[name].objects == ("colon",) for name in ("clinicdb", "colondb", "kvasir", "endo"))
    assert len(DATA_SETS["mvtec"].objects) == 15
    assert len(DATA_SETS["visa"].objects) == len(DATA_SETS["dtd_synthetic"].objects) == 12
