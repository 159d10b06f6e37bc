"""What a study takes of a data set: parts without a common group, the same on every machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anomalyclip_med.studies.config import Source
from anomalyclip_med.studies.data import divide, expected_images, write_datalist

ENTRIES = st.lists(
    st.builds(
        lambda number, group, label, of_class, twin: {
            "image": number,
            "group": group,
            "label": label,
            "class": of_class,
            "sha256": twin or str(number),
        },
        st.integers(0, 10**6),
        st.sampled_from(["", "a", "b", "c"]),
        st.integers(0, 1),
        st.sampled_from(["x", "y"]),
        st.sampled_from(["", "", "twin"]),
    ),
    unique_by=lambda entry: entry["image"],
    max_size=40,
)


def named(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With image names."""
    return [{**e, "image": f"{e['image']:07d}.png"} for e in entries]


@given(ENTRIES, st.floats(0.1, 0.9))
def test_a_split_divides_groups_and_loses_nothing(entries: list[dict[str, Any]], share: float) -> None:
    entries = named(entries)
    first, second = divide([], entries, Source(folder="x", split=share))
    assert sorted(e["image"] for e in first + second) == sorted(e["image"] for e in entries)
    assert not {e["group"] for e in first if e["group"]} & {e["group"] for e in second}
    # Equal images without a group are one.
    alone = [{e["sha256"] for e in part if not e["group"]} for part in (first, second)]
    assert not alone[0] & alone[1]


@given(ENTRIES, st.integers(1, 5), st.randoms())
def test_a_draw_takes_so_many_of_each_kind_whatever_the_order(entries: list[dict[str, Any]], count: int, rng) -> None:
    entries = named(entries)
    shuffled = entries.copy()
    rng.shuffle(shuffled)
    source = Source(folder="x", images=count)
    drawn, same = divide([], entries, source)
    assert drawn == same == divide([], shuffled, source)[1]
    for of_class in "xy":
        for label in (0, 1):
            of_kind = [e for e in entries if (e["class"], e["label"]) == (of_class, label)]
            found = [e for e in drawn if (e["class"], e["label"]) == (of_class, label)]
            assert len(found) == min(count, len(of_kind))


def test_sections(tmp_path: Path) -> None:
    """HeadCT, half of it learned from; written once."""
    folder = tmp_path / "data" / "HeadCT" / "head_ct"
    folder.mkdir(parents=True)
    rows = []
    for number in range(8):
        Image.fromarray(np.full((20, 20), 9 * number, np.uint8)).save(folder / f"{number:03d}.png")
        rows.append(f"{number}, {int(number < 4)}")
    (tmp_path / "data" / "HeadCT" / "labels.csv").write_text("id, hemorrhage\n" + "\n".join(rows) + "\n")
    source = Source(folder="HeadCT", split=0.5)
    path = tmp_path / "out" / "headct.json"
    write_datalist("headct", source, tmp_path / "data", path)
    content = json.loads(path.read_text())
    parts = [{e["image"] for e in content[section]} for section in ("training", "test")]
    assert [len(part) for part in parts] == [4, 4]
    assert not parts[0] & parts[1]
    for section in ("training", "test"):
        assert sum(e["label"] for e in content[section]) == 2

    before = path.read_bytes()
    path.write_bytes(before + b" ")
    write_datalist("headct", source, tmp_path / "data", path)
    assert path.read_bytes() == before + b" "  # kept
    os.utime(path, (0, 0))
    write_datalist("headct", source, tmp_path / "data", path)
    assert path.read_bytes() == before  # all files are newer: made again, of the same content
    os.utime(folder, (later := path.stat().st_mtime + 9, later))
    path.write_bytes(before + b" ")
    os.utime(path, (later - 1, later - 1))
    write_datalist("headct", source, tmp_path / "data", path)
    assert path.read_bytes() == before  # a file may have been added
    os.utime(folder, (0, 0))
    assert content["masks_sha256"] == {}
    write_datalist("headct", Source(folder="HeadCT", images=1), tmp_path / "data", path)
    assert len(json.loads(path.read_text())["test"]) == 2


def test_expected_images() -> None:
    assert expected_images("headct", Source(folder="x")) == (200, 200)
    assert expected_images("headct", Source(folder="x", split=0.25)) == (50, 150)
    assert expected_images("headct", Source(folder="x", images=24)) == (48, 48)


def test_a_list_is_another_one_when_a_mask_changes(tmp_path: Path) -> None:
    picture = np.arange(400, dtype=np.uint8).reshape(20, 20)
    for name, content in (
        ("test/good/0", picture),
        ("test/bad/0", picture.T),
        ("ground_truth/bad/0_mask", 255 * (picture > 99)),
    ):
        path = tmp_path / "MVTec" / "bottle" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(content.astype(np.uint8)).save(path)
    lists = []
    for threshold in (99, 120):
        Image.fromarray(255 * (picture > threshold).astype(np.uint8)).save(path)
        write_datalist("mvtec", Source(folder="MVTec"), tmp_path, tmp_path / f"{threshold}.json")
        lists.append(json.loads((tmp_path / f"{threshold}.json").read_text()))
    hashes = [content.pop("masks_sha256") for content in lists]
    assert lists[0] == lists[1]
    assert hashes[0].keys() == hashes[1].keys() == {"bottle/ground_truth/bad/0_mask.png"}
    assert hashes[0] != hashes[1]
