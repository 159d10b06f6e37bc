"""Memory and time of scoring one long CT series, slice by slice, and where the time goes.

Usage: python benchmarks/streaming.py [--slices N] [--size PIXELS] [--clip NAME] [--input dicom|nifti|pictures]

Writes a synthetic series (2 bytes x N x PIXELS x PIXELS) as DICOM, one NIfTI file or a folder of PNG, scores it with
the bundle, and prints two tables. The first has memory that the process holds for itself (RssAnon of /proc/self/status;
pages of mapped files can be dropped at any time and are not counted), before and at the peak; slices per second and
seconds from the first batch to the last file, those of the model alone, and the share of the former in which the model
was running. The second has each stage's seconds, without those of the stages inside of it: CPU seconds of the thread
that does it, and wall seconds, which overlap. What torch's other threads do is not in it: to compare the model's CPU
seconds with the rest, set OMP_NUM_THREADS=1. Linux only.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.engines import SupervisedEvaluator
from monai.transforms import Invertd
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from tabulate import tabulate

from anomalyclip_med import create_model
from anomalyclip_med.bundle import run_bundle
from anomalyclip_med.data import Scan
from anomalyclip_med.engines import ScanWriter, handlers
from anomalyclip_med.inferers import results
from anomalyclip_med.networks import SingleTensorDetector
from anomalyclip_med.transforms import CropRegiond, LoadSliced, ResizeSliced
from anomalyclip_med.writers import MapFile


def noise(slices: int, size: int) -> Iterator[np.ndarray]:
    """Slices of noise around 40 HU, stored with an intercept of -1024."""
    pixels = np.random.default_rng(0).integers(1014, 1114, (size + 97, size), dtype=np.uint16)
    return (pixels[number % 97 :][:size] for number in range(slices))


def write_dicom(folder: Path, slices: int, size: int) -> None:
    """An axial series, 1 mm apart."""
    study, series = generate_uid(), generate_uid()
    for number, pixels in enumerate(noise(slices, size)):
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
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)


def write_nifti(folder: Path, slices: int, size: int) -> None:
    """The same as one compressed volume."""
    volume = np.stack([pixels.T.astype(np.int16) - 1024 for pixels in noise(slices, size)], axis=-1)
    nib.save(nib.Nifti1Image(volume, np.diag([-0.7, -0.7, 1, 1])), folder / "volume.nii.gz")


def write_pictures(folder: Path, slices: int, size: int) -> None:
    """The same as grey pictures."""
    for number, pixels in enumerate(noise(slices, size)):
        Image.fromarray((pixels - 1014).astype(np.uint8)).save(folder / f"{number:05d}.png")


INPUTS = {"dicom": write_dicom, "nifti": write_nifti, "pictures": write_pictures}


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


class Clock:
    """CPU and wall seconds of stages, without those of the stages that run inside of them.

    Attributes:
        cpu: seconds of the threads that do a stage's work.
        wall: seconds that pass meanwhile.
    """

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self._thread = threading.local()

    def watch(self, owner: Any, name: str, stage: str) -> None:
        """Measure each call of a method or function, which is replaced."""
        work = getattr(owner, name)

        @functools.wraps(work)
        def measured(*arguments: Any, **options: Any) -> Any:
            inside = self._thread.__dict__.setdefault("inside", [])
            inside.append([0.0, 0.0])
            start = time.thread_time(), time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                passed = time.thread_time() - start[0], time.perf_counter() - start[1]
                within = inside.pop()
                self.cpu[stage] += passed[0] - within[0]
                self.wall[stage] += passed[1] - within[1]
                if inside:
                    inside[-1][:] = inside[-1][0] + passed[0], inside[-1][1] + passed[1]

        setattr(owner, name, measured)


# In the order in which a slice goes through them.
STAGES = (
    (results, "find_scans", "find scans, read headers"),
    (Scan, "read_slice", "read"),
    (LoadSliced, "__call__", "window"),
    (CropRegiond, "__call__", "crop, resize"),
    (ResizeSliced, "__call__", "crop, resize"),
    (SingleTensorDetector, "forward", "model"),
    (Invertd, "__call__", "resize maps"),
    (ScanWriter, "_add_batch", "collect maps, scores, small files"),
    (ScanWriter, "finish", "collect maps, scores, small files"),
    (MapFile, "store", "compress maps"),
    (handlers, "write_overlay_png", "overlays"),
    (handlers, "write_map_png", "overlays"),
)


def model_alone(clip: str, slices: int) -> float:
    """Seconds that the model takes for so many slices when nothing else goes on."""
    detector = create_model(clip, "auto")
    batch = torch.zeros(4, 3, detector.image_size, detector.image_size)
    with torch.inference_mode():
        detector(batch)
        start = time.perf_counter()
        for _ in range(8):
            detector(batch)
    return (time.perf_counter() - start) / 32 * slices


def main() -> None:
    """Write, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=1500)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--clip", default="offline")
    parser.add_argument("--input", choices=INPUTS, default="dicom")
    arguments = parser.parse_args()
    slices = arguments.slices
    alone = model_alone(arguments.clip, slices)
    clock, run = Clock(), Clock()
    for owner, name, stage in STAGES:
        clock.watch(owner, name, stage)
    run.watch(SupervisedEvaluator, "run", "in all")
    with tempfile.TemporaryDirectory() as temporary:
        source, output = Path(temporary) / "series", Path(temporary) / "out"
        source.mkdir()
        INPUTS[arguments.input](source, slices, arguments.size)
        before = anonymous_memory()
        with peak_memory() as peak, redirect_stdout(sys.stderr):  # what the bundle tells is not of the report
            run_bundle(
                "anomalyclip_zero_shot",
                ["inference.json"],
                dataset_dir=str(source),
                output_dir=str(output),
                clip=arguments.clip,
            )
    seconds, model = run.wall["in all"], clock.wall["model"]
    print()
    row = [slices, f"{before:.0f}", f"{peak[0]:.0f}", f"{slices / seconds:.1f}", f"{seconds:.0f}", f"{alone:.0f}"]
    headers = ("slices", "MiB before", "MiB at peak", "slices/s", "s in all", "s model alone", "model running")
    print(tabulate([[*row, f"{model / seconds:.0%}"]], headers, tablefmt="pipe", disable_numparse=True))
    print()
    rows = [(stage, clock.cpu[stage], clock.wall[stage]) for stage in dict.fromkeys(stage for *_, stage in STAGES)]
    rest = sum(cpu for stage, cpu, _ in rows if stage != "model")
    rows.append(("all but the model", rest, ""))
    print(tabulate(rows, ("stage", "CPU s", "wall s"), tablefmt="pipe", floatfmt=".1f"))


if __name__ == "__main__":
    main()
