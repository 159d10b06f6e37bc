"""The one door to all DICOM results of a scan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from anomalyclip_med.data.dicom import DicomScan
from anomalyclip_med.data.reading import reading
from anomalyclip_med.errors import ScanError
from anomalyclip_med.inferers import ScanResult
from anomalyclip_med.transforms import LoadSliced
from anomalyclip_med.writers.dicom.deidentify import remove_dates
from anomalyclip_med.writers.dicom.multiframe import unplaced
from anomalyclip_med.writers.dicom.origin import DicomOutput, Origin
from anomalyclip_med.writers.dicom.parametric_map import parametric_maps
from anomalyclip_med.writers.dicom.secondary_capture import secondary_captures
from anomalyclip_med.writers.dicom.segmentation import segmentations
from anomalyclip_med.writers.dicom.sources import Sources, read_sources
from anomalyclip_med.writers.dicom.structured_report import structured_report


def write_dicom(
    kinds: Collection[DicomOutput],
    folder: Path,
    result: ScanResult,
    anomaly_map: np.ndarray,
    load: LoadSliced,
    provenance: dict[str, Any],
    *,
    threshold: float | None = None,
    deidentify: bool = False,
    top_slices: int = 3,
) -> Iterator[Path]:
    """Write the results of a DICOM scan as DICOM objects, which belong to the patient and study of the scan.

    A second run with the same settings over the same files gives the same UIDs.

    Args:
        kinds: what to write.
        folder: exists.
        result: of a :class:`~anomalyclip_med.data.dicom.DicomScan`. What is left out of the objects becomes a warning
            of the scan.
        anomaly_map: of ``scan.shape``, float32 in [0, 1], NaN where nothing was scored.
        load: reads the slices for secondary captures.
        provenance: see :func:`anomalyclip_med.inferers.provenance`.
        threshold: of the segmentation; without it, the segmentation is fractional.
        deidentify: write nothing that identifies the patient, the institution or the day.
        top_slices: secondary captures of a scan that has a place in the patient; of another, all slices are captured.

    Yields:
        Each file when it is complete: ``<scan>_pm.dcm``, ``<scan>_seg.dcm``, ``<scan>_sr.dcm`` and
        ``<scan>_sc_<slice>.dcm``; with several time points ``<scan>_pm_t01.dcm`` and ``<scan>_seg_t01.dcm``.

    Raises:
        ScanError: not all that was asked for can be made of this scan; raised after the rest has been written. The
            message names the file and the reason, and no patient.

    Examples:
        >>> import numpy as np
        >>> from pydicom import dcmread
        >>> from pydicom.data import get_testdata_file
        >>> from anomalyclip_med.data import find_scans
        >>> from anomalyclip_med.transforms import LoadSliced
        >>> (scan,), _ = find_scans([Path(get_testdata_file("CT_small.dcm", download=False))])
        >>> result = ScanResult(scan, scores=np.array([0.7]))
        >>> made = {"version": "0.1.0", "notice": None, "model": {"method": "AnomalyCLIP"}, "settings": {}}
        >>> kinds, values = {DicomOutput.PARAMETRIC_MAP}, np.full(scan.shape, 0.25, np.float32)
        >>> (path,) = write_dicom(kinds, Path(), result, values, LoadSliced("image"), made)
        >>> stored = dcmread(path)
        >>> stored.SOPClassUID.name, stored.SeriesDescription, np.frombuffer(stored.FloatPixelData, np.float32)[:2]
        ('Parametric Map Storage', 'AnomalyCLIP anomaly map', array([0.25, 0.25], dtype=float32))
    """
    scan = result.scan
    if not isinstance(scan, DicomScan):
        raise ScanError(f"{scan.source}: DICOM results can be made of DICOM scans only; NIfTI is available")
    if anomaly_map.shape != scan.shape:
        raise ScanError(f"{scan.name}: an array of shape {anomaly_map.shape} is not on the grid {scan.shape}")
    sources = read_sources(scan, deidentify)
    origin = Origin(sources, provenance)
    makers: dict[DicomOutput, Callable[[], Iterator[tuple[str, Dataset]]]] = {
        DicomOutput.PARAMETRIC_MAP: lambda: parametric_maps(scan, sources, origin, anomaly_map),
        DicomOutput.SEGMENTATION: lambda: segmentations(scan, sources, origin, anomaly_map, threshold),
        DicomOutput.STRUCTURED_REPORT: lambda: iter([("", structured_report(scan, sources, origin, result))]),
        DicomOutput.SECONDARY_CAPTURE: lambda: secondary_captures(
            scan,
            sources,
            origin,
            anomaly_map,
            load,
            range(len(scan.slices)) if unplaced(scan, sources) else result.top_slices(top_slices),
        ),
    }
    failures: list[str] = []
    for kind in DicomOutput:
        if kind in kinds:
            try:
                yield from _write(makers[kind], folder / f"{scan.name}_{kind}", sources)
            except ScanError as error:
                failures.append(str(error))
    if failures:
        raise ScanError("; ".join(dict.fromkeys(failures)))


def _write(make: Callable[[], Iterator[tuple[str, Dataset]]], stem: Path, sources: Sources) -> Iterator[Path]:
    objects: Iterator[tuple[str, Dataset]] | None = None
    while True:
        with _making(sources.path):
            objects = make() if objects is None else objects
            made = next(objects, None)
            if made is None:
                return
            suffix, dataset = made
            if sources.deidentified:
                remove_dates(dataset)
            path = stem.with_name(f"{stem.name}{suffix}.dcm")
            try:
                dataset.save_as(path, enforce_file_format=True)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        yield path


@contextmanager
def _making(path: Path) -> Iterator[None]:
    """Turn what highdicom and pydicom raise into a `ScanError`; a full disk stays what it is."""
    failure: OSError | None = None
    with reading(path, "no DICOM results can be made of its headers; NIfTI is available"):
        try:
            yield
        except OSError as error:
            failure = error
    if failure:
        raise failure
