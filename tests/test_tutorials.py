"""The tutorials are kept without outputs, and their drawn scans are what their masks and headers say."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from anomalyclip_med.data import find_scans

from .conftest import REPOSITORY

FOLDER = REPOSITORY / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def drawn() -> ModuleType:
    specification = importlib.util.spec_from_file_location("drawn", FOLDER / "drawn.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_run_is_kept(path: Path) -> None:
    for cell in cells(path):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    # A path that begins at the root, other than those within an address, and a home.
    text = "".join("".join(cell["source"]) for cell in cells(path))
    assert not re.findall(r"(?<![\w.:/}>~-])/(?:home|Users|tmp|work|root|mnt)/|[A-Z]:\\\\", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_begins_with_its_title_and_is_short(path: Path) -> None:
    first, *others = cells(path)
    assert first["cell_type"] == "markdown"
    assert first["source"][0].startswith("# ")
    assert not [cell for cell in others if "".join(cell["source"]).startswith("# ")]
    assert 5 <= len(others) + 1 <= 16


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_to_files(path: Path) -> None:
    for cell in cells(path):
        for target in re.findall(r"\]\(([^)#]+)", "".join(cell["source"])) if cell["cell_type"] == "markdown" else []:
            assert target.startswith("https://") or (FOLDER / target).is_file()


def test_the_readme_lists_all_tutorials_in_their_order() -> None:
    listed = re.findall(r"\(tutorials/(\w+\.ipynb)\)", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert listed == [path.name for path in NOTEBOOKS]
    assert [int(name[:2]) for name in listed] == list(range(1, 9))


def test_a_drawn_head_is_read_back_where_it_was_drawn(drawn: ModuleType, tmp_path: Path) -> None:
    hu, mask = drawn.head_volume(bleeding=True, seed=2, slices=6, side=96, at=0.5)
    drawn.write_ct_series(hu, tmp_path)
    (scan,), _ = find_scans([tmp_path])
    assert len(scan.slices) == 6
    for index, pixels in enumerate(hu):
        assert np.abs(scan.read_slice(index) - pixels)[pixels > -1024].max() <= 1
    # RAS of the first pixel of the third slice: at the patient's right, in front.
    assert scan.slice_affine(2)[:3, 3] == pytest.approx([115, 115, 10])
    assert 60 < hu[mask].mean() < 80
    assert 20 < hu[~mask & (hu > 0) & (hu < 60)].mean() < 45
    assert mask[2:4].any()
    assert not drawn.head_volume(bleeding=False, seed=2, slices=6, side=48)[1].any()


def test_a_drawn_nodule_is_darker_than_what_surrounds_it(drawn: ModuleType, tmp_path: Path) -> None:
    frames, masks = drawn.neck_sweep(nodule=True, seed=4, frames=7)
    assert not masks[[0, -1]].any()
    middle = frames[3]
    ring = np.zeros_like(masks[3])
    rows, columns = np.nonzero(masks[3])
    ring[rows.min() - 8 : rows.max() + 8, columns.min() - 8 : columns.max() + 8] = True
    assert middle[masks[3]].mean() < middle[ring & ~masks[3]].mean() - 30
    drawn.write_cine(frames, tmp_path / "cine.dcm")
    (scan,), _ = find_scans([tmp_path])
    top, bottom, left, right = scan.region
    assert np.array_equal(scan.read_slice(3)[top:bottom, left:right], middle)
