"""DICOM scans: files that belong together are grouped by their headers, never by their folder or name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydicom import dcmread

from anomalyclip_med.data.budget import check_size
from anomalyclip_med.data.dicom_geometry import Source, Stack, stack
from anomalyclip_med.data.dicom_header import FrameHeader, Instance
from anomalyclip_med.data.dicom_pixels import inversion, read_frame
from anomalyclip_med.data.dicom_voi import read_voi_table
from anomalyclip_med.data.reading import reading
from anomalyclip_med.data.scan import DisplayTable, Scan, SliceInfo
from anomalyclip_med.data.slicing import Plane, Slicing
from anomalyclip_med.errors import ScanError

# Direction cosines and spacings are printed with six digits or so; differences below are rounding.
_ORIENTATION_TOLERANCE = 1e-4
_SPACING_TOLERANCE = 1e-4


class DicomScan(Scan):
    """A series, or the part of one that shares orientation, size and spacing, or a multi-frame object.

    Frames without a position in the patient (cine, radiographs) lie on an LPS identity grid of their pixel
    spacing. With `Plane.AUTO` the slices are the frames as they were acquired. Another plane cuts the stacked
    volume, which is then held from the first read to `close`; where the frames make no regular volume, the
    acquired slices are kept, with a warning.

    Args:
        sources: the frames, in any order.
        group: number of the geometry group in its series, from 1.
        plane: the slices to cut.
        warnings: what grouping found doubtful.

    Attributes:
        sources: where each acquired frame is read from, in the order of the array's slices, one time point after
            another.

    Raises:
        ScanError: the volume that `plane` needs is over the limits.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        group: int = 1,
        plane: Plane = Plane.AUTO,
        warnings: Sequence[str] = (),
    ) -> None:
        stacked = stack(sources)
        first = stacked.sources[0]
        instance = first.instance
        files = tuple(s.instance.path for s in stacked.sources)
        self._volume: np.ndarray | None = None
        depth = len(stacked.sources) // stacked.times
        shape: tuple[int, ...] = (instance.columns, instance.rows, depth)
        if stacked.times > 1:
            shape = (*shape, stacked.times)
        slicing, plane_warnings = _slicing(stacked, shape, plane)
        acquired = slicing.axis == 2
        if not acquired:
            frame_bytes = instance.rows * instance.columns * (3 if instance.color else 4)
            check_size(instance.path, frame_bytes, len(stacked.sources))
        window, table, table_warnings = _display(first)
        super().__init__(
            source=_common_source(files),
            format="dicom",
            shape=shape,
            affine=stacked.affine,
            slicing=slicing,
            slices=_acquired_slices(stacked, slicing) if acquired else _cut_slices(stacked, slicing),
            color=instance.color,
            modality=instance.modality,
            study=instance.study,
            series=instance.series if group == 1 else f"{instance.series}_{group}",
            stored_range=_stored_range(stacked.sources),
            window=window,
            table=table,
            region=instance.region if acquired else None,
            warnings=[*warnings, *stacked.warnings, *plane_warnings, *_bit_warnings(instance), *table_warnings],
        )
        self.files = files
        self.sources = stacked.sources

    @property
    def stem(self) -> str:
        """The name that the scan gets unless another scan has it: modality and start of the series' hash."""
        digest, _, group = self.series.partition("_")
        return "_".join(filter(None, (self.modality or "OT", digest[:12], group)))

    def sources_of(self, index: int) -> range:
        """Return which of `sources` slice `index` shows: one frame, or all of a time point where it cuts through them.

        Raises:
            IndexError: there is no such slice.
        """
        place, time = self._slicing.source(index)
        first, depth = time * self.shape[2], self.shape[2]
        return range(first + place, first + place + 1) if self._slicing.axis == 2 else range(first, first + depth)

    def close(self) -> None:
        """Free the stacked volume, where there is one."""
        self._volume = None

    def _read(self, index: int, place: int, time: int) -> np.ndarray:
        if self._slicing.axis == 2:
            source = self.sources[time * self.shape[2] + place]
            return self._slicing.orient(read_frame(source.instance, source.frame).swapaxes(0, 1))
        if self._volume is None:
            self._volume = self._read_volume()
        return self._slicing.view(self._volume, index)

    def _read_volume(self) -> np.ndarray:
        volume = np.empty((*self.shape, 3) if self.color else self.shape, dtype=np.uint8 if self.color else np.float32)
        acquired = Slicing.acquired(self.shape)
        for i, source in enumerate(self.sources):
            acquired.view(volume, i)[...] = read_frame(source.instance, source.frame)
        return volume


def group_instances(
    instances: Iterable[Instance], plane: Plane
) -> tuple[list[DicomScan], list[tuple[Path, str]], list[tuple[Path, str]]]:
    """Make scans of DICOM files, in the order in which their first files come.

    Files belong together that share SeriesInstanceUID, Rows, Columns, kind of pixels, ImageOrientationPatient
    and PixelSpacing. Each multi-frame file is on its own, and is split likewise. The same instance twice is
    read once.

    Args:
        instances: what `read_instance` returned.
        plane: the slices to cut.

    Returns:
        The scans, the files that could not become one with the reasons, and the copies that were left out likewise.
    """
    skipped: list[tuple[Path, str]] = []
    copies: list[tuple[Path, str]] = []
    unique, doubtful = _drop_duplicates(instances, copies)
    groups: list[list[Source]] = []
    by_key: dict[tuple[object, ...], list[list[Source]]] = {}
    for instance in unique:
        multi_frame = instance.path if len(instance.frames) > 1 else None
        key = (instance.series, instance.rows, instance.columns, instance.color, multi_frame)
        candidates = by_key.setdefault(key, [])
        for frame in instance.frames:
            group = next((g for g in candidates if _same_geometry(g[0].frame, frame)), None)
            if group is None:
                group = []
                candidates.append(group)
                groups.append(group)
            group.append(Source(instance, frame))

    scans: list[DicomScan] = []
    numbers: dict[str, int] = {}
    for group in groups:
        series = group[0].instance.series
        try:
            scan = DicomScan(group, group=numbers.get(series, 0) + 1, plane=plane, warnings=doubtful.get(series, []))
        except ScanError as error:
            skipped += [(path, str(error)) for path in sorted({s.instance.path for s in group})]
            continue
        numbers[series] = numbers.get(series, 0) + 1
        scans.append(scan)
    return scans, skipped, copies


def _drop_duplicates(
    instances: Iterable[Instance], copies: list[tuple[Path, str]]
) -> tuple[list[Instance], dict[str, list[str]]]:
    """Drop copies of an instance; return the rest, and warnings by series."""
    seen: dict[str, Instance] = {}
    unique: list[Instance] = []
    dropped: dict[str, int] = {}
    warnings: dict[str, list[str]] = {}
    for instance in instances:
        known = seen.setdefault(instance.uid, instance) if instance.uid else instance
        if known is instance:
            unique.append(instance)
        elif (known.number, known.frames) == (instance.number, instance.frames):
            dropped[instance.series] = dropped.get(instance.series, 0) + 1
            copies.append((instance.path, "the same DICOM instance as another file"))
        else:
            # Careless anonymisation gives a whole series one UID: losing slices would be worse than a copy.
            unique.append(instance)
            warnings[instance.series] = [
                "ambiguous-instance-uid: different slices share a SOPInstanceUID, all are kept"
            ]
    for series, count in dropped.items():
        warnings.setdefault(series, []).append(
            f"duplicate-instances: {count} files repeat an instance of this series and are not read"
        )
    return unique, warnings


def _same_geometry(one: FrameHeader, other: FrameHeader) -> bool:
    for a, b, tolerance in (
        (one.orientation, other.orientation, _ORIENTATION_TOLERANCE),
        (one.spacing, other.spacing, _SPACING_TOLERANCE),
    ):
        if (a is None) != (b is None):
            return False
        # Most are equal, and there may be very many of them.
        if a is not None and b is not None and a != b and np.abs(np.subtract(a, b)).max() > tolerance:
            return False
    return True


def _common_source(files: Sequence[Path]) -> Path:
    distinct = set(files)
    return files[0] if len(distinct) == 1 else Path(os.path.commonpath([f.parent for f in distinct]))


def _slicing(stacked: Stack, shape: tuple[int, ...], plane: Plane) -> tuple[Slicing, list[str]]:
    acquired = Slicing.acquired(shape)
    if plane is Plane.AUTO:
        return acquired, []
    if stacked.located:
        slicing = Slicing.anatomical(shape, stacked.affine, plane)
        if slicing.axis == 2 or (stacked.regular and shape[2] > 1):
            return slicing, []
        reason = "the slices make no regular volume"
    else:
        reason = "the slices have no place in the patient"
    return acquired, [f"plane-not-available: {reason}, the acquired slices are used instead of {plane} ones"]


def _acquired_slices(stacked: Stack, slicing: Slicing) -> list[SliceInfo]:
    depth = len(stacked.sources) // stacked.times
    # Positions rise with the slice index, so a reversed order counts along the opposite normal.
    sign = -1.0 if depth > 1 and slicing.source(0)[0] > 0 else 1.0
    slices = []
    for index in range(slicing.count):
        place, time = slicing.source(index)
        source, position = stacked.sources[time * depth + place], stacked.positions[time * depth + place]
        if len(source.instance.frames) > 1:
            frame: int | None = source.frame.number
        else:
            frame = time if stacked.times > 1 else None
        slices.append(
            SliceInfo(
                index=index,
                frame=frame,
                instance=source.instance.uid,
                position=None if position is None else sign * position,
                instance_number=source.instance.number,
            )
        )
    return slices


def _cut_slices(stacked: Stack, slicing: Slicing) -> list[SliceInfo]:
    return [
        SliceInfo(
            index=index,
            frame=slicing.source(index)[1] if stacked.times > 1 else None,
            instance=None,
            position=position,
        )
        for index, position in enumerate(slicing.positions(stacked.affine))
    ]


def _stored_range(sources: Sequence[Source]) -> tuple[float, float] | None:
    instance = sources[0].instance
    if instance.color:
        return 0.0, 255.0
    as_stored = all(
        s.instance.bits_allocated <= 8
        and not s.instance.signed
        and not s.instance.modality_lut
        and (s.frame.slope, s.frame.intercept) == (1.0, 0.0)
        and s.instance.bits_stored == instance.bits_stored
        for s in sources
    )
    return (0.0, float((1 << instance.bits_stored) - 1)) if as_stored else None


def _bit_warnings(instance: Instance) -> list[str]:
    if not instance.low_bit:
        return []
    return [
        f"shifted-values: the values stand in bits {instance.low_bit} to {instance.low_bit + instance.bits_stored - 1} "
        "and are shifted down, which few other programs do"
    ]


def _display(source: Source) -> tuple[tuple[float, float] | None, DisplayTable | None, list[str]]:
    """Return the frame's window or, for want of one, its table, both mirrored where `read_frame` mirrors the values."""
    frame, instance = source.frame, source.instance
    if instance.color or (frame.window is None and not instance.voi_lut):
        return None, None, []
    dataset = None
    with reading(instance.path, "the modality table cannot be read"):
        if instance.inverted and instance.modality_lut:
            tags = ["PixelRepresentation", "ModalityLUTSequence"]
            dataset = dcmread(instance.path, stop_before_pixels=True, specific_tags=tags, force=True)
        total = inversion(instance, frame, dataset)
    if frame.window is None:
        try:
            return None, read_voi_table(instance.path, frame.number, total), []
        except ScanError:
            return None, None, ["voi-table-not-used: the file's VOI table is damaged, and it has no window"]
    centre, width = frame.window
    if total is not None:
        # The LINEAR function is centred half a unit below its nominal centre (PS3.3 C.11.2.1.2.1).
        centre = total - centre + (1.0 if frame.window_function == "LINEAR" else 0.0)
    return (centre, width), None, []
