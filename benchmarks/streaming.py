"""Memory and time of scoring one long CT series, slice by slice.

Usage: python benchmarks/streaming.py [--slices N] [--size PIXELS] [--clip NAME]

Writes a synthetic series (2 bytes x N x PIXELS x PIXELS), scores it with the bundle, and prints a table: memory that
the process holds for itself (RssAnon of /proc/self/status; pages of mapped files can be dropped at any time and are not
counted), before and at the peak, and seconds of the run beside those of reading alone and of the model alone. Linux
only.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from tabulate import tabulate

from anomalyclip_med import create_model
from anomalyclip_med.bundle import run_bundle
from anomalyclip_med.data import find_scans


def write_series(folder: Path, slices: int, size: int) -> None:
    """An axial series of noise around 40 HU, 1 mm apart."""
    rng = np.random.default_rng(0)
    noise = rng.integers(1014, 1114, (size + 97, size), dtype=np.uint16)
    study, series = generate_uid(), generate_uid()
    for number in range(slices):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.Modality, dataset.InstanceNumber = "CT", number + 1
        dataset.Rows = dataset.Columns = size
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, number]
        dataset.PixelData = noise[number % 97 :][:size].tobytes()
        dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)


def anonymous_memory() -> float:
    """MiB that belong to this process and to no file."""
    status = Path("/proc/self/status").read_text()
    match = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(match[1]) / 1024 if match else float("nan")


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Sample the memory 20 times a second; the list holds the highest value."""
    peak, done = [anonymous_memory()], threading.Event()

    def sample() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], anonymous_memory())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def main() -> None:
    """Write, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=1500)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--clip", default="offline")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        source, output = Path(temporary) / "series", Path(temporary) / "out"
        source.mkdir()
        write_series(source, arguments.slices, arguments.size)

        detector = create_model(arguments.clip, "auto")
        batch = torch.zeros(4, 3, detector.image_size, detector.image_size)
        with torch.inference_mode():
            detector(batch)
            start = time.perf_counter()
            for _ in range(8):
                detector(batch)
        model = (time.perf_counter() - start) / 32 * arguments.slices
        (scan,), _ = find_scans([source])
        start = time.perf_counter()
        for number in range(arguments.slices):
            scan.read_slice(number)
        reading = time.perf_counter() - start

        del detector, scan
        before = anonymous_memory()
        with peak_memory() as peak:
            start = time.perf_counter()
            run_bundle(
                "anomalyclip_zero_shot",
                ["inference.json"],
                dataset_dir=str(source),
                output_dir=str(output),
                clip=arguments.clip,
            )
            total = time.perf_counter() - start
    row = (arguments.slices, f"{before:.0f}", f"{peak[0]:.0f}", f"{total:.0f}", f"{reading:.0f}", f"{model:.0f}")
    headers = ("slices", "MiB before", "MiB at peak", "s in all", "s reading alone", "s model alone")
    print(tabulate([row], headers, tablefmt="pipe"))


if __name__ == "__main__":
    main()
