"""Where the image lies in an ultrasound frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from anomalyclip_med.data import find_scans

US = {"Modality": "US", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1"}


def region(top: int, bottom: int, left: int, right: int, spatial_format: int = 1) -> Dataset:
    """A region with the last row and column included, as the standard has it."""
    item = Dataset()
    item.RegionSpatialFormat = spatial_format
    item.RegionLocationMinY0, item.RegionLocationMaxY1 = top, bottom
    item.RegionLocationMinX0, item.RegionLocationMaxX1 = left, right
    return item


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([region(2, 9, 3, 14)], (2, 10, 3, 15)),
        ([region(2, 9, 3, 8), region(4, 12, 10, 14)], (2, 13, 3, 15)),  # dual image
        ([region(2, 9, 3, 14), region(11, 15, 0, 19, spatial_format=3)], (2, 10, 3, 15)),  # and a Doppler curve
        ([region(0, 99, 0, 99)], (0, 16, 0, 20)),
        ([region(9, 2, 3, 14)], None),
        ([region(11, 15, 0, 19, spatial_format=3)], None),
        ([], None),
    ],
)
def test_the_box_around_all_images(tmp_path: Path, write_dicom, regions, expected) -> None:
    pixels = np.zeros((16, 20), np.uint8)
    write_dicom(tmp_path / "us.dcm", pixels, SequenceOfUltrasoundRegions=regions, **US)
    (scan,), _ = find_scans([tmp_path / "us.dcm"])
    assert scan.region == expected
