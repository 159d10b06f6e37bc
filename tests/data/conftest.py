"""Synthetic DICOM files around one asymmetric phantom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"

WriteDicom = Callable[..., FileDataset]


@pytest.fixture
def phantom() -> np.ndarray:
    """(X, Y, Z) = (5, 4, 3) int16: every voxel has its own value, so no flip or swap goes unseen."""
    return np.arange(60, dtype=np.int16).reshape(5, 4, 3) * 7 + 3


@pytest.fixture
def write_dicom() -> WriteDicom:
    """Writes pixels of (rows, columns[, 3]) or (frames, rows, columns[, 3]) with any further elements."""

    def write(path: Path, pixels: np.ndarray, **elements: Any) -> FileDataset:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = elements.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
        dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID = CT
        dataset.SOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID = "1.2.3"
        dataset.SeriesInstanceUID = "1.2.3.4"
        dataset.PatientName = "SECRET^NAME"
        dataset.PatientID = "SECRET-ID"
        dataset.Modality = "CT"
        color = pixels.shape[-1] == 3 and pixels.ndim > 2
        if color:
            dataset.PlanarConfiguration = 0
        spatial = pixels.shape[:-1] if color else pixels.shape
        if len(spatial) == 3:
            dataset.NumberOfFrames = spatial[0]
        dataset.Rows, dataset.Columns = spatial[-2:]
        dataset.SamplesPerPixel = 3 if color else 1
        dataset.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        data = pixels.tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path, enforce_file_format=True)
        return dataset

    return write


@pytest.fixture
def write_series(write_dicom: WriteDicom, phantom: np.ndarray) -> Callable[..., list[np.ndarray]]:
    """Writes the phantom as a series; returns each slice's ImagePositionPatient."""

    def write(
        folder: Path,
        *,
        row: tuple[float, ...] = (1, 0, 0),
        column: tuple[float, ...] = (0, 1, 0),
        step: tuple[float, ...] | None = None,
        spacing: tuple[float, float] = (0.7, 0.9),
        files: tuple[int, ...] = (2, 0, 1),
        stem: str = "s",
        volume: np.ndarray = phantom,
        **elements: Any,
    ) -> list[np.ndarray]:
        folder.mkdir(exist_ok=True)
        normal = np.cross(row, column)
        vector = normal * 2.5 if step is None else np.asarray(step)
        corners = [np.array([-11.25, 7.5, 3.125]) + k * vector for k in range(volume.shape[2])]
        for number, k in enumerate(files):
            write_dicom(
                folder / f"{stem}{number}.dcm",
                np.ascontiguousarray(volume[:, :, k].T),
                ImagePositionPatient=[f"{v:.9f}" for v in corners[k]],
                ImageOrientationPatient=[f"{v:.12f}" for v in (*row, *column)],
                PixelSpacing=list(spacing),
                **({"InstanceNumber": number + 1} | elements),
            )
        return corners

    return write


@pytest.fixture
def sequence() -> Callable[..., list[Dataset]]:
    """A sequence of one item with the given elements."""

    def make(**elements: Any) -> list[Dataset]:
        item = Dataset()
        for keyword, value in elements.items():
            setattr(item, keyword, value)
        return [item]

    return make
