"""Drawn scans for the tutorials: they need no download, show no patient, and the place of every lesion is known.

A drawn head is made of ellipsoids in Hounsfield units, a drawn neck of layers under ultrasound speckle. They are good
enough to learn the commands with. How well a method does on them says nothing about real scans.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid
from scipy.ndimage import gaussian_filter

Pixels = NDArray[np.float64]
Mask = NDArray[np.bool_]


def head_volume(
    bleeding: bool, seed: int = 0, slices: int = 12, side: int = 192, at: float | None = None
) -> tuple[Pixels, Mask]:
    """Draw the upper half of a head as CT shows it.

    Args:
        bleeding: whether there is a haemorrhage with oedema around it.
        seed: of everything that differs from head to head.
        slices: from the base of the skull upwards, 5 mm apart.
        side: of a slice in pixels of 230 mm / ``side``.
        at: height of a bleeding's middle, 0 for the lowest and 1 for the highest slice; None for a random one.

    Returns:
        Hounsfield units and the haemorrhage's mask, both (slices, rows, columns): head first, the face up.
    """
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(np.linspace(0.05, 0.75, slices), *[np.linspace(-1.15, 1.15, side)] * 2, indexing="ij")
    size = rng.uniform(0.96, 1.04)
    radius = np.sqrt((x / (0.78 * size)) ** 2 + (y / size) ** 2 + z**2)
    wobble = 0.006 * _smooth(rng, z.shape, side / 24)
    hu = np.full(z.shape, -1000.0)
    hu[radius < 1.06] = 20  # scalp
    hu[radius < 1.0] = 1000  # bone
    hu[radius < 0.93] = 8  # fluid around the brain
    cortex = radius + wobble
    brain = (cortex < 0.905) & (np.abs(x) > 0.008)
    hu[brain] = 38  # grey matter
    hu[brain & (cortex + 3 * wobble < 0.80)] = 29  # white matter
    hu[brain & (_oval(np.abs(x) - 0.22, y + 0.05, z - 0.3, 0.13, 0.17, 0.2) < 1)] = 37  # basal ganglia
    wide = rng.uniform(0.8, 1.2)
    for angle, middle, length in ((0.35, -0.22, 0.26), (-0.25, 0.22, 0.3)):  # front and back horns
        across = (np.abs(x) - 0.11) + angle * (y - middle)
        hu[brain & (_oval(across, y - middle, z - 0.38, 0.055 * wide, length, 0.22) < 1)] = 6
    mask = np.zeros(z.shape, dtype=bool)
    if bleeding:
        side_of_head = rng.choice([-1, 1])
        place = side_of_head * rng.uniform(0.26, 0.4), rng.uniform(-0.35, 0.35)
        height = rng.uniform(0.2, 0.5) if at is None else 0.05 + 0.7 * at
        width = rng.uniform(0.11, 0.17)
        blob = _oval(x - place[0], y - place[1], z - height, width, 1.25 * width, 1.1 * width)
        blob = blob + 0.25 * _smooth(rng, z.shape, side / 24)
        hu[brain & (blob < 1.9)] = 18  # oedema
        mask = brain & (blob < 1)
        hu[mask] = rng.uniform(64, 74)
    hu = gaussian_filter(hu, (0.3, 0.7, 0.7)) + 1.5 * _smooth(rng, z.shape, 1.0)
    return hu + rng.normal(0, 2.5, z.shape), mask


def head_slice(bleeding: bool, seed: int = 0, side: int = 192) -> tuple[NDArray[np.uint8], Mask]:
    """One slice through the ventricles, in the brain window (level 40, width 80), and its haemorrhage's mask."""
    hu, mask = head_volume(bleeding, seed, slices=5, side=side, at=0.5)
    return (np.clip(hu[2] / 80, 0, 1) * 255).astype(np.uint8), mask[2]


def neck_sweep(
    nodule: bool, seed: int = 0, frames: int = 1, rows: int = 200, columns: int = 260
) -> tuple[NDArray[np.uint8], Mask]:
    """Draw a sweep of the ultrasound probe across a lobe of the thyroid.

    Args:
        nodule: whether a dark nodule comes into view, with the largest cut in the middle of the sweep.
        seed: of everything that differs from neck to neck.
        frames: of the sweep.
        rows: depth in pixels of 0.2 mm.
        columns: width in pixels of 0.2 mm.

    Returns:
        Grey values and the nodule's mask, both (frames, rows, columns).
    """
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(
        np.linspace(-1, 1, frames) if frames > 1 else [0.0], np.linspace(0, 1, rows), np.linspace(0, 1, columns),
        indexing="ij",
    )  # fmt: skip
    wave = 0.02 * _smooth(rng, z.shape, 40) + 0.012 * np.sin(6 * x + rng.uniform(0, 6))
    depth = y + wave
    echo = np.full(z.shape, 0.30)
    stripes = 0.5 + 0.5 * np.sin(2 * np.pi * (depth * 26 + 2 * x))
    muscle = (depth > 0.12) & (depth < 0.30)
    echo[depth < 0.12] = 0.42  # skin and fat
    echo[muscle] = (0.16 + 0.16 * stripes**4)[muscle]
    echo[depth > 0.72] = 0.2 + 0.1 * stripes[depth > 0.72]  # deep muscle
    for line in (0.03, 0.12, 0.30, 0.72):  # fasciae
        echo += 0.4 * np.exp(-(((depth - line) / 0.007) ** 2))
    lobe = _oval(x - 0.47, depth - 0.51, 0, 0.36, 0.205, 1) + 0.06 * _smooth(rng, z.shape, 18)
    echo[lobe < 1] = 0.5
    airway = _oval(x - 1.0, depth - 0.52, 0, 0.19, 0.24, 1)
    echo[airway < 1] = 0.05
    echo += 0.6 * np.exp(-(((airway - 1) / 0.06) ** 2))
    artery = _oval(x - 0.07, depth - 0.6, 0, 0.075, 0.1, 1)
    echo[artery < 1] = 0.03
    echo += 0.35 * np.exp(-(((artery - 1) / 0.15) ** 2))
    mask = np.zeros(z.shape, dtype=bool)
    if nodule:
        wide, high = rng.uniform(0.09, 0.15), rng.uniform(0.07, 0.11)
        blob = _oval(x - rng.uniform(0.35, 0.6), depth - rng.uniform(0.45, 0.56), z, wide, high, 0.55)
        blob = blob + 0.12 * _smooth(rng, z.shape, 9)
        mask = blob < 1
        echo[mask] = rng.uniform(0.1, 0.2)
    speckle = np.hypot(*(gaussian_filter(rng.normal(size=z.shape), (0.5 * (frames > 1), 0.8, 1.6)) for _ in range(2)))
    amplitude = gaussian_filter(echo, (0, 0.7, 1.2)) * speckle / speckle.mean() * np.exp(-0.8 * y)
    grey = 0.36 * np.log10(np.maximum(amplitude, 1e-3) / 1e-2) + 0.02  # about 55 dB
    return (np.clip(grey, 0, 1) * 255).astype(np.uint8), mask


def write_ct_series(hu: Pixels, folder: Path, number: int = 1) -> None:
    """Write (slices, rows, columns) of Hounsfield units as a DICOM series, a file per slice, 5 mm apart."""
    folder.mkdir(parents=True, exist_ok=True)
    spacing = 230 / hu.shape[1]
    study, series, frame = (generate_uid(entropy_srcs=[f"drawn head {number}", kind]) for kind in ("st", "se", "fr"))
    for index, pixels in enumerate(hu):
        instance = generate_uid(entropy_srcs=[series, str(index)])
        dataset = _dicom(CTImageStorage, instance, "CT", number, study, series)
        dataset.FrameOfReferenceUID = frame
        dataset.PositionReferenceIndicator = ""
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.BodyPartExamined = "HEAD"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [-115.0, -115.0, 5.0 * index]
        dataset.PixelSpacing = [spacing, spacing]
        dataset.SliceThickness = 5.0
        dataset.KVP = 120
        dataset.AcquisitionNumber = 1
        dataset.InstanceNumber = index + 1
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
        dataset.WindowCenter, dataset.WindowWidth = 40, 80
        dataset.PhotometricInterpretation = "MONOCHROME2"
        stored = np.clip(pixels + 1024, 0, 4095).astype(np.uint16)
        _set_pixels(dataset, stored, bits_stored=12)
        dataset.save_as(folder / f"{index:03d}.dcm", enforce_file_format=True)


def write_cine(frames: NDArray[np.uint8], path: Path, number: int = 1) -> None:
    """Write (frames, rows, columns) of grey values as a multi-frame DICOM, with a caption burnt in above the image.

    The region of the image stands in the header, as scanners write it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count, rows, columns = frames.shape
    top = 40
    screen = np.zeros((count, rows + top, columns), dtype=np.uint8)
    screen[:, top:] = frames
    screen[:, 12:24, 10:120:9] = 200  # stands for burnt-in text
    study, series = (generate_uid(entropy_srcs=[f"drawn neck {number}", kind]) for kind in ("st", "se"))
    instance = generate_uid(entropy_srcs=[series, "0"])
    dataset = _dicom(UltrasoundMultiFrameImageStorage, instance, "US", number, study, series)
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.NumberOfFrames = count
    dataset.FrameTime = 40.0
    dataset.FrameIncrementPointer = pydicom.tag.Tag("FrameTime")
    dataset.InstanceNumber = 1
    dataset.LossyImageCompression = "00"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1  # 2-D, tissue
    region.RegionFlags = 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, top
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = columns - 1, rows + top - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # cm
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.02
    dataset.SequenceOfUltrasoundRegions = [region]
    _set_pixels(dataset, screen, bits_stored=8)
    dataset.save_as(path, enforce_file_format=True)


def write_tn3k(folder: Path, training: int = 24, test: int = 12) -> None:
    """Write drawn nodules as TN3K is packed: ``trainval-image``, ``trainval-mask``, ``test-image``, ``test-mask``."""
    for part, first, count in (("trainval", 0, training), ("test", 1000, test)):
        for number in range(count):
            frames, masks = neck_sweep(nodule=True, seed=first + number)
            for kind, pixels in (("image", frames[0]), ("mask", masks[0])):
                save_picture(pixels, folder / f"{part}-{kind}" / f"{number:04d}.jpg")


def save_picture(pixels: NDArray[np.uint8] | Mask, path: Path) -> None:
    """Write grey values, or a mask as black and white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
    Image.fromarray(grey).save(path)


def _oval(x: Pixels, y: Pixels, z: Pixels | float, a: float, b: float, c: float) -> Pixels:
    """Below 1 inside of an ellipsoid around the origin."""
    return np.asarray((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Pixels:
    """Noise of standard deviation 1 with structures of about ``sigma`` pixels within a slice."""
    noise = gaussian_filter(rng.normal(size=shape), (1.0 if shape[0] > 1 else 0.0, sigma, sigma), mode="wrap")
    return np.asarray(noise / noise.std())


def _dicom(sop_class: str, instance: str, modality: str, number: int, study: str, series: str) -> FileDataset:
    """The parts of a header that all drawn scans have."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.Modality = modality
    dataset.PatientName, dataset.PatientID = "Drawn^Patient", f"DRAWN-{number}"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.ReferringPhysicianName = ""
    dataset.StudyID, dataset.AccessionNumber, dataset.SeriesNumber = str(number), "", 1
    dataset.StudyDate, dataset.StudyTime = "20240101", "120000"
    dataset.Manufacturer, dataset.Laterality = "drawn", ""
    dataset.StudyDescription = "Drawn for a tutorial"
    return dataset


def _set_pixels(dataset: FileDataset, pixels: NDArray[np.uint8] | NDArray[np.uint16], bits_stored: int) -> None:
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored, dataset.HighBit = bits_stored, bits_stored - 1
    dataset.PixelData = pixels.tobytes()
