"""Reads every public DICOM file at hand and tabulates whether the values are those of other decoders.

The files are those in pydicom's package, in the package pydicom-data where it is installed, and in the folder DICOM of
the real data. Each is read on its own, all its frames, and compared with pydicom (the pixels and its own rescale,
palette and colour conversion) and with SimpleITK (GDCM), which shares no code with this package's readers.

Usage: python tools/dicom_outcomes.py [--data FOLDER] [--output docs/dicom_files.md]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from anomalyclip_med.data import Scan, find_scans
from anomalyclip_med.data.dicom_header import is_dicom
from anomalyclip_med.errors import ScanError

REPOSITORY = Path(__file__).resolve().parents[1]
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# Lossy pictures: decoders round their colour transforms and cosines differently (PS3.5 8.2 leaves it to them).
LOSSY_TOLERANCE = 4
LOSSLESS = (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless)


@dataclass
class Row:
    """One file of the table.

    Attributes:
        name: where it comes from, and its name there.
        syntax: its transfer syntax.
        photometric: its photometric interpretation.
        frames: how many frames it declares.
        outcome: "equal", "within rounding", "named error", "skipped", "WRONG", "REFUSED" or "no pixels".
        detail: the reason of an error or a skip, and the warnings.
        pydicom: largest absolute difference from pydicom's values, None where it reads nothing.
        itk: the same of SimpleITK's.
    """

    name: str
    syntax: str = ""
    photometric: str = ""
    frames: int = 0
    outcome: str = ""
    detail: str = ""
    pydicom: float | None = None
    itk: float | None = None


def sources(data: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield the name and the place of each folder that is there."""
    yield "pydicom", Path(pydicom.__file__).parent / "data" / "test_files"
    spec = importlib.util.find_spec("data_store")
    if spec is not None and spec.origin:
        yield "pydicom-data", Path(spec.origin).parent / "data"
    if data is not None and (data / "DICOM").is_dir():
        yield "data", data / "DICOM"


def outcome(name: str, path: Path) -> Row:
    """Read one file with this package's reader and with the others, and compare."""
    row = Row(name)
    dataset = dcmread(path, force=True) or dcmread(path, force=True, stop_before_pixels=True)
    syntax = transfer_syntax(dataset)
    row.syntax = syntax.name if syntax else ""
    row.photometric = str(dataset.get("PhotometricInterpretation", ""))
    row.frames = frame_count(dataset)
    scans, skipped = find_scans([path])
    if not scans and not any(keyword in dataset for keyword in PIXELS):
        row.outcome, row.frames = "no pixels", 0
        row.detail = "; ".join(s.reason for s in skipped)
        return row
    references = {"pydicom": by_pydicom(path, dataset), "itk": by_itk(path, row.frames)}
    if not scans:
        row.detail = "; ".join(s.reason for s in skipped)
        if not skipped[0].unreadable:
            row.outcome = "skipped"
        else:
            row.outcome = "named error" if all(r is None for r in references.values()) else "REFUSED"
        return row
    try:
        ours = read(scans, row.frames)
    except ScanError as error:
        row.detail = str(error).removeprefix(f"{path}: ")
        row.outcome = "named error" if all(r is None for r in references.values()) else "REFUSED"
        return row
    row.detail = "; ".join(dict.fromkeys(w.split(":")[0] for scan in scans for w in scan.warnings))
    for kind, reference in references.items():
        if reference is not None:
            # GDCM mirrors MONOCHROME1 itself, this package does so apart from CT.
            inverted = row.photometric == "MONOCHROME1" and (kind == "itk") == (dataset.Modality == "CT")
            setattr(row, kind, difference(ours, reference, dataset, inverted))
    lossless = syntax in LOSSLESS or not (syntax and syntax.is_encapsulated)
    known = [d for d in (row.pydicom, row.itk) if d is not None]
    if known and min(known) == 0:
        row.outcome = "equal"
    elif known and min(known) <= LOSSY_TOLERANCE and not lossless:
        row.outcome = "within rounding"
    else:
        row.outcome = "WRONG" if known else "unchecked"
    return row


def transfer_syntax(dataset: Dataset) -> pydicom.uid.UID | None:
    """Return the declared transfer syntax, or what pydicom found where the file declares none."""
    if declared := dataset.file_meta.get("TransferSyntaxUID"):
        return pydicom.uid.UID(declared)
    implicit, little = getattr(dataset, "original_encoding", (None, None))
    if implicit is None:
        return None
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def frame_count(dataset: Dataset) -> int:
    """Return the number of frames that the header declares, 1 where it says nothing sensible."""
    try:
        return int(dataset.get("NumberOfFrames") or 1)
    except ValueError:
        return 1


def read(scans: list[Scan], count: int) -> list[np.ndarray]:
    """Read all slices of a file's scans, in the order of its frames."""
    frames: dict[int, np.ndarray] = {}
    for scan in scans:
        for info in scan.slices:
            frames[info.frame or 0] = scan.read_slice(info.index)
    assert sorted(frames) == list(range(count)), "a frame is missing"
    return [frames[i] for i in range(count)]


def by_pydicom(path: Path, dataset: Dataset) -> list[np.ndarray] | None:
    """Decode all frames with pydicom, rescaled or in RGB; None where it cannot."""
    try:
        dataset.file_meta.TransferSyntaxUID = transfer_syntax(dataset)
        # Of a file without an end of its pixels it reads no data set, but the frames.
        whole = any(keyword in dataset for keyword in PIXELS)
        pixels = pixel_array(dataset if whole else path)
        if frame_count(dataset) == 1:
            pixels = pixels[np.newaxis]
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            return [apply_color_lut(p, dataset)[..., :3] for p in pixels]
        if dataset.SamplesPerPixel > 1:
            return list(pixels)
        return [apply_modality_lut(p, rescale(dataset, i)).astype(np.float64) for i, p in enumerate(pixels)]
    except Exception:
        return None


def rescale(dataset: Dataset, frame: int) -> Dataset:
    """Return the item that holds a frame's rescale: its own, the shared one, or the data set."""
    for keyword, place in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        groups = dataset.get(keyword) or []
        if len(groups) > place and groups[place].get("PixelValueTransformationSequence"):
            return groups[place].PixelValueTransformationSequence[0]
    return dataset


def by_itk(path: Path, count: int) -> list[np.ndarray] | None:
    """Decode all frames with SimpleITK; None where it cannot, or where it finds another number of frames."""
    try:
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError:
        return None
    pixels = sitk.GetArrayFromImage(image)
    color = image.GetNumberOfComponentsPerPixel() > 1
    frames = list(pixels) if pixels.ndim - color == 3 else [pixels]
    return frames if len(frames) == count else None


def difference(ours: list[np.ndarray], reference: list[np.ndarray], dataset: Dataset, inverted: bool) -> float:
    """Return the largest absolute difference over all frames, apart from padding.

    Args:
        ours: the frames as this package reads them.
        reference: the same frames by another decoder; colours of more than 8 bits lose the lower ones here.
        dataset: the file.
        inverted: mirror the reference in the range of the stored type.
    """
    largest = 0.0
    for number, (own, other) in enumerate(zip(ours, reference, strict=True)):
        if own.shape != other.shape:
            return float("inf")
        expected = other.astype(np.float64)
        if own.ndim == 3:
            bits = other.dtype.itemsize * 8
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                bits = 16 if other.max() > 255 else 8
            else:
                bits = min(int(dataset.BitsStored), bits)
            expected = np.floor(expected / 2 ** max(bits - 8, 0))
        elif inverted:
            expected = mirrored(expected, dataset, number)
        shown = np.abs(own.astype(np.float64) - expected.astype(np.float32))
        shown[padded(dataset, number, own.shape)] = 0
        largest = max(largest, float(shown.max()))
    return largest


def mirrored(values: np.ndarray, dataset: Dataset, frame: int) -> np.ndarray:
    """Return rescaled values mirrored in the rescaled range of the stored type."""
    ends = np.array([0, 2**dataset.BitsStored - 1]) - dataset.PixelRepresentation * 2 ** (dataset.BitsStored - 1)
    if dataset.get("ModalityLUTSequence"):
        ends = np.arange(ends[0], ends[1] + 1)
    limits = apply_modality_lut(ends, rescale(dataset, frame)).astype(np.float64)
    return limits.min() + limits.max() - values


def padded(dataset: Dataset, frame: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return where a grey frame holds padding, which is shown as the lowest of the other values."""
    value = dataset.get("PixelPaddingValue")
    if value is None or len(shape) == 3:
        return np.zeros(shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit", value)
    stored = pixel_array(dataset, index=frame, raw=True).reshape(shape)
    return (stored >= min(value, limit)) & (stored <= max(value, limit))


def table(rows: list[Row], absent: list[str]) -> str:
    """Return the page."""
    counts = Counter(row.outcome for row in rows)
    with_pixels = [row for row in rows if row.outcome != "no pixels"]
    right = [row for row in with_pixels if row.outcome in ("equal", "within rounding", "named error", "skipped")]
    by_origin = {
        origin: f"{sum(r in right for r in of)} of {len(of)} in {name}"
        for origin, name in (("pydicom", "pydicom"), ("pydicom-data", "pydicom-data"), ("data", "the real data"))
        if (of := [r for r in with_pixels if r.name.startswith(f"{origin}:")])
    }
    lines = [
        "# Public DICOM files, one by one",
        "",
        "Made by `python tools/dicom_outcomes.py`. Each file is read on its own, all its frames, and compared with",
        "the values that pydicom and SimpleITK give. Two things are done to theirs too, because they are meant:",
        "MONOCHROME1 is inverted, CT apart, and colours of more than 8 bits are cut to 8. Padding is not compared.",
        "",
        "- **equal**: the largest difference from pydicom or from SimpleITK is 0 in every pixel of every frame;",
        f"- **within rounding**: a lossy picture, of which decoders differ by at most {LOSSY_TOLERANCE};",
        "- **named error**: no decoder at hand can read it, and the error names the file and what is wrong;",
        "- **skipped**: not a scan (a segmentation, a dose grid), left out with the reason;",
        "- **REFUSED**: a named error, although another decoder gives values; **WRONG**: other values.",
        "",
        "Where pydicom and SimpleITK disagree about a lossless file, SimpleITK takes the bytes of 16- and 32-bit",
        "colour in RLE in the wrong order, or leaves out a modality table.",
        "",
        f"**{len(right)} of {len(with_pixels)} files with pixels are right**: "
        + ", ".join(f"{count} {kind}" for kind, count in counts.most_common() if kind != "no pixels")
        + f" ({', '.join(by_origin.values())}; a file that lies in several places is counted once). "
        f"A further {counts['no pixels']} hold no pixels.",
        *[f"\n{name}" for name in absent],
        "",
        "| file | transfer syntax | photometric | frames | outcome | pydicom | SimpleITK | reason or warnings |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in with_pixels:
        cells = [row.name, row.syntax, row.photometric, row.frames, row.outcome, number(row.pydicom), number(row.itk)]
        lines.append(f"| {' | '.join(map(str, cells))} | {row.detail.replace('|', '/')} |")
    lines += ["", "## Without pixels", "", "| file | reason |", "|---|---|"]
    lines += [f"| {row.name} | {row.detail} |" for row in rows if row.outcome == "no pixels"]
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    """Return a difference as text."""
    return "-" if value is None else f"{value:.4g}"


def main() -> None:
    """Write the page and print its summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("ANOMALYCLIP_MED_DATA", REPOSITORY.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default, help="folder of the real data, which holds DICOM/")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "dicom_files.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    pydicom.config.logger.setLevel("CRITICAL")
    rows: dict[str, Row] = {}
    there = set()
    for origin, folder in sources(arguments.data):
        there.add(origin)
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and is_dicom(p)):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest not in rows:
                rows[digest] = outcome(f"{origin}: {path.relative_to(folder).as_posix()}", path)
    missing = {"pydicom-data": "`pydicom-data` is not installed.", "data": "The real data are absent."}
    absent = [sentence for origin, sentence in missing.items() if origin not in there]
    page = table(list(rows.values()), absent)
    arguments.output.write_text(page, encoding="utf-8")
    print(next(line for line in page.splitlines() if line.startswith("**")))


if __name__ == "__main__":
    main()
