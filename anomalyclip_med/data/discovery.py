"""Finds the scans in files and folders: a file is told by content or name, and none is lost silently."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from anomalyclip_med.data.dicom import DicomScan, group_instances
from anomalyclip_med.data.dicom_header import Instance, is_dicom, read_instance
from anomalyclip_med.data.image import ImageScan
from anomalyclip_med.data.itk import ItkScan
from anomalyclip_med.data.naming import file_name, hashed_name, split_suffix, unique_names
from anomalyclip_med.data.nifti import NiftiScan
from anomalyclip_med.data.reading import reading
from anomalyclip_med.data.scan import Scan
from anomalyclip_med.data.slicing import Plane
from anomalyclip_med.data.tiff import TiffScan
from anomalyclip_med.errors import NotAScanError, ScanError

_READERS: dict[str, Callable[[Path, Plane], Scan]] = {
    ".nii": NiftiScan,
    ".nii.gz": NiftiScan,
    ".hdr": NiftiScan,
    ".nrrd": lambda path, plane: ItkScan(path, "nrrd", plane),
    ".nhdr": lambda path, plane: ItkScan(path, "nrrd", plane),
    ".mha": lambda path, plane: ItkScan(path, "metaimage", plane),
    ".mhd": lambda path, plane: ItkScan(path, "metaimage", plane),
    ".png": lambda path, plane: ImageScan(path),
    ".jpg": lambda path, plane: ImageScan(path),
    ".jpeg": lambda path, plane: ImageScan(path),
    ".jpe": lambda path, plane: ImageScan(path),
    ".jfif": lambda path, plane: ImageScan(path),
    ".bmp": lambda path, plane: ImageScan(path),
    ".tif": lambda path, plane: TiffScan(path),
    ".tiff": lambda path, plane: TiffScan(path),
}


RESULTS_LOG = "manifest.jsonl"
"""The file in every folder of results by which it is told from a folder of scans."""


@dataclass(frozen=True)
class SkippedFile:
    """A file or folder that is not part of any scan.

    Attributes:
        path: where it is.
        reason: why, in words, without patient identity.
        unreadable: it should have been a scan, but is damaged, too large or of a kind that cannot be read.
        shown: what outputs call it: its path, or a hash where paths are not to be shown.
    """

    path: Path
    reason: str
    unreadable: bool = False
    shown: str = ""


def find_scans(
    paths: Sequence[Path],
    plane: Plane = Plane.AUTO,
    exclude: Path | None = None,
    jobs: int = 1,
    show_names: bool = True,
) -> tuple[list[Scan], list[SkippedFile]]:
    """Find all scans in files and folders. Headers are read, pixels are not; a bar shows the progress of a long search.

    Folders are walked to the bottom in sorted order. Hidden files and folders, and links that lead elsewhere,
    are not followed. DICOM series are put together across all the paths.

    Args:
        paths: files and folders.
        plane: the slices to cut; pictures, and DICOM frames that make no volume, keep theirs.
        exclude: a folder that is not looked into, such as that of the results.
        jobs: processes that read DICOM headers.
        show_names: whether names may come from files' names and paths, which may hold a patient's, or are hashes.

    Returns:
        The scans in the order of their first files, and every file that is in none of them, with the reason.

    Raises:
        ScanError: a path does not exist.

    Examples:
        >>> from pydicom.data import get_testdata_file
        >>> _ = Path("notes.txt").write_text("text")
        >>> ct = get_testdata_file("CT_small.dcm", download=False)
        >>> (scan,), (skipped,) = find_scans([Path(ct), Path("notes.txt")])
        >>> scan.modality, scan.shape, scan.read_slice(0).shape
        ('CT', (128, 128, 1), (128, 128))
        >>> skipped.shown, skipped.reason
        ('notes.txt', 'not an image')
    """
    for path in paths:
        if not path.exists():
            raise ScanError(f"{path}: no such file or folder")
    skipped: list[SkippedFile] = []
    files: dict[Path, Path] = {}  # file: what its name is relative to
    known: set[Path] = set()
    for path in paths:
        for file in _walk(path, exclude.resolve() if exclude else None, skipped):
            if file.resolve() not in known:
                known.add(file.resolve())
                files[file] = path if path.is_dir() else path.parent

    found: dict[Path, Scan] = {}
    instances: list[Instance] = []
    failures: dict[Path, str] = {}
    harmless: set[Path] = set()
    for file, outcome in zip(files, _headers(list(files), jobs), strict=True):
        try:
            result = _READERS[split_suffix(file)[1]](file, plane) if outcome is None else outcome
        except ScanError as error:
            result = error
        if isinstance(result, ScanError):
            failures[file] = str(result)
            if isinstance(result, NotAScanError):
                harmless.add(file)
        elif isinstance(result, Scan):
            found[file] = result
        else:
            instances.append(result)

    # A detached data file is no failure: it is part of its header's volume.
    for scan in found.values():
        for file in scan.files:
            failures.pop(file, None)

    dicom_scans, dropped, duplicates = group_instances(instances, plane)
    failures |= dropped
    skipped += [
        SkippedFile(file, reason.removeprefix(f"{file}: "), unreadable=file not in harmless)
        for file, reason in failures.items()
    ]
    skipped += [SkippedFile(file, reason) for file, reason in duplicates]
    order = {file: i for i, file in enumerate(files)}
    scans = [
        *((order[file], scan) for file, scan in found.items()),
        *((min(order[file] for file in scan.files), scan) for scan in dicom_scans),
    ]
    result_scans = [scan for _, scan in sorted(scans, key=lambda item: item[0])]
    _name(result_scans, files, show_names)
    skipped.sort(key=lambda s: (order.get(s.path, -1), s.path))
    return result_scans, [replace(s, shown=_shown(s.path, paths, show_names)) for s in skipped]


def open_picture(path: Path) -> Scan:
    """Open a file that holds one 2-D image.

    Raises:
        ScanError: there is no such file, it cannot be read, or it has more than one slice.
    """
    scans, skipped = find_scans([path])
    if len(scans) != 1 or len(scans[0].slices) != 1:
        reason = skipped[0].reason if skipped else f"{sum(len(s.slices) for s in scans)} slices"
        raise ScanError(f"{path}: not a 2-D image: {reason}")
    return scans[0]


def _shown(path: Path, roots: Sequence[Path], show_names: bool) -> str:
    if show_names:
        return str(path)
    root = next((root for root in roots if root.is_dir() and path.is_relative_to(root)), path.parent)
    return hashed_name("file", path.relative_to(root))


def _walk(path: Path, exclude: Path | None, skipped: list[SkippedFile]) -> Iterator[Path]:
    """Yield the regular files at or below a path, sorted, and note what is left out."""
    if not path.is_dir():
        if path.is_file():
            yield path
        else:
            skipped.append(SkippedFile(path, "not a regular file"))
        return
    root = path.resolve()
    pending = [path]
    while pending:
        entry = pending.pop()
        if entry is not path:
            if entry.name.startswith("."):
                skipped.append(SkippedFile(entry, "hidden"))
                continue
            if entry.is_symlink() and (entry.is_dir() or not entry.resolve().is_relative_to(root)):
                skipped.append(SkippedFile(entry, "a link to a folder or out of the folder"))
                continue
        if exclude is not None and entry.resolve() == exclude:
            skipped.append(SkippedFile(entry, "the folder of the results"))
            continue
        if entry is not path and (entry / RESULTS_LOG).is_file():
            skipped.append(SkippedFile(entry, "results of an earlier run"))
            continue
        if entry.is_dir():
            try:
                pending += sorted(entry.iterdir(), reverse=True)
            except OSError as error:
                skipped.append(SkippedFile(entry, f"the folder cannot be read ({type(error).__name__})"))
        elif entry.is_file():
            yield entry
        else:
            skipped.append(SkippedFile(entry, "not a regular file"))


def _headers(files: Sequence[Path], jobs: int) -> Iterator[Instance | ScanError | None]:
    """What `_header` gives for each file, in their order."""
    bar = partial(tqdm, total=len(files), desc="reading headers", unit="file", delay=2)
    if jobs == 1:
        yield from bar(map(_header, files))
        return
    # Not forked: torch's threads would be copied in a state that can hang.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from bar(pool.map(_header, files, chunksize=32))


def _header(file: Path) -> Instance | ScanError | None:
    """The headers of a DICOM file, why there are none, or None for a file that another reader takes."""
    try:
        with reading(file, "the file cannot be read"):
            suffix = split_suffix(file)[1]
            if file.stat().st_size == 0:
                error = ScanError if suffix in _READERS else NotAScanError
                raise error(f"{file}: the file is empty")
            dicom = is_dicom(file)
        if dicom:
            return read_instance(file)
        if suffix not in _READERS:
            raise NotAScanError(f"{file}: not an image")
    except ScanError as error:
        return error
    return None


def _name(scans: list[Scan], roots: dict[Path, Path], show_names: bool) -> None:
    stems, suffixes = [], []
    for scan in scans:
        if isinstance(scan, DicomScan):
            stems.append(scan.stem)
            suffixes.append("")
        else:
            relative = scan.source.relative_to(roots[scan.source])
            stems.append(file_name(relative) if show_names else hashed_name(scan.format, relative))
            suffixes.append(split_suffix(scan.source)[1])
    for scan, name in zip(scans, unique_names(stems, suffixes), strict=True):
        scan.name = name
        scan.shown = str(scan.source) if show_names else name
        if not isinstance(scan, DicomScan):
            scan.study = scan.series = name
