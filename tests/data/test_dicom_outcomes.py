"""Every public DICOM file that is installed is read as pydicom or SimpleITK read it; see docs/dicom_files.md."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from anomalyclip_med.data.dicom_header import is_dicom
from tests.conftest import REPOSITORY


@pytest.mark.slow
@pytest.mark.parametrize("origin", ["pydicom", "pydicom-data"])
def test_no_public_file_is_read_wrongly_or_refused(origin, monkeypatch):
    spec = importlib.util.spec_from_file_location("dicom_outcomes", REPOSITORY / "tools" / "dicom_outcomes.py")
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "dicom_outcomes", tool)
    spec.loader.exec_module(tool)
    folders = dict(tool.sources(None))
    if origin not in folders:
        pytest.skip(f"{origin} is not installed")
    files = [p for p in sorted(folders[origin].rglob("*")) if p.is_file() and is_dicom(p)]
    rows = [tool.outcome(p.name, p) for p in files]
    assert len([r for r in rows if r.outcome in ("equal", "within rounding")]) > 60
    allowed = {"equal", "within rounding", "named error", "skipped", "no pixels"}
    assert [(r.name, r.outcome) for r in rows if r.outcome not in allowed] == []


def test_the_page_names_no_place_of_a_machine():
    page = (REPOSITORY / "docs" / "dicom_files.md").read_text()
    assert not any(place in page for place in ("/tmp", "/home", "/work", "site-packages"))
