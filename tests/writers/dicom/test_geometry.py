"""A hot voxel of a map or segmentation lies where the source's headers put it, whoever reads it."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from anomalyclip_med.writers.dicom import DicomOutput
from tests.writers.dicom.conftest import MR, only_scan, random_map, voxel_position, write

OBLIQUE = np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.35, 0.85, -0.25], [-0.1, 0.3, 0.95]]))[0].T
ORIENTATIONS = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "feet first": ((-1, 0, 0), (0, 1, 0)),
    "flipped": ((-1, 0, 0), (0, -1, 0)),
    "oblique": (tuple(OBLIQUE[0]), tuple(OBLIQUE[1])),
}
HOT = (3, 1, 2)
"""Column, row and slice, in the order of the slices' normal."""
SPACING = (0.7, 0.9)


def expected_position(corners, row, column, voxel=HOT) -> np.ndarray:
    x, y, z = voxel
    return corners[z] + x * SPACING[1] * np.array(row) + y * SPACING[0] * np.array(column)


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("files", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_hot_voxel(tmp_path: Path, write_series, dcmqi_map, dcmqi_segment, orientation, files, modality) -> None:
    row, column = ORIENTATIONS[orientation]
    elements = {"Modality": modality, "SliceThickness": 2, "FrameOfReferenceUID": "1.2.9"}
    if modality == "MR":
        elements["SOPClassUID"] = MR
    corners = write_series(tmp_path / "in", row=row, column=column, files=files, spacing=SPACING, **elements)
    scan = only_scan(tmp_path / "in")
    values = random_map(scan) / 2
    values[HOT] = 0.96875
    expected = expected_position(corners, row, column)

    maps, segmentation = write(
        scan, tmp_path / "out", values, (DicomOutput.PARAMETRIC_MAP, DicomOutput.SEGMENTATION), threshold=0.75
    )
    np.testing.assert_allclose(voxel_position(dcmqi_map(maps), 0.96875), expected, atol=0.01)
    np.testing.assert_allclose(voxel_position(dcmqi_segment(segmentation), 1), expected, atol=0.01)

    for path, value in ((maps, 0.96875), (segmentation, 1)):
        volume = hd.imread(path).get_volume()
        (index,) = np.argwhere(volume.array == value)
        np.testing.assert_allclose(volume.map_indices_to_reference(index[np.newaxis])[0], expected, atol=0.01)

    assert not scan.warnings
    dataset = dcmread(maps)
    stored = np.frombuffer(dataset.FloatPixelData, np.float32).reshape(3, 4, 5)
    np.testing.assert_array_equal(stored, values.transpose(2, 1, 0))
