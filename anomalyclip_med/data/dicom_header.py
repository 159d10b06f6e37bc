"""Reads the headers of one DICOM file into plain numbers and hashed identifiers, without the patient.

References are to the DICOM standard, PS3.3 (information objects) and PS3.5 (encoding).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from anomalyclip_med.data.budget import WORKING_BYTES, check_inflated_size, check_size
from anomalyclip_med.data.dicom_fragments import Fragments, survey_fragments
from anomalyclip_med.data.dicom_voi import voi_item
from anomalyclip_med.data.naming import hash_uid, split_suffix
from anomalyclip_med.data.reading import reading
from anomalyclip_med.errors import NotAScanError, ScanError

# What is decoded to grey values or a palette's colours, and what to RGB (PS3.3 C.7.6.3.1.2).
_GREYS = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
_COLORS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}

Vector = tuple[float, float, float]

_PREAMBLE_BYTES = 132
_PIXEL_ELEMENT_BYTES = 12
# A table's first value is a 16-bit number (PS3.3 C.11.1.1.1).
_TABLE_BITS = 16
_BARE_SUFFIXES = {"", ".dcm", ".dicom", ".ima"}
# How a data set without preamble starts: group 0002 or 0008, in either byte order.
_BARE_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")

_DERIVED = {
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation",
    "1.2.840.10008.5.1.4.1.1.30": "Parametric Map",
    "1.2.840.10008.5.1.4.1.1.481.2": "RT Dose",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "Whole Slide Microscopy, in tiles",
}

_OWN_MODEL = "anomalyclip_med"
"""ManufacturerModelName of all objects that this package writes; its captures look like scans."""

_KEYWORDS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "InstanceNumber",
    "TemporalPositionIdentifier", "AcquisitionNumber", "SamplesPerPixel", "PhotometricInterpretation", "Rows",
    "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit", "ImageType", "SliceVector",
    "DetectorInformationSequence", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "ImagerPixelSpacing", "SpacingBetweenSlices", "SliceThickness",
    "SequenceOfUltrasoundRegions", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter",
    "WindowWidth", "VOILUTFunction", "VOILUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "ManufacturerModelName",
]  # fmt: skip


@dataclass(frozen=True)
class FrameHeader:
    """Geometry and value transformation of one frame.

    Attributes:
        number: the frame's number in its file, from 0.
        position: ImagePositionPatient, LPS mm, of the centre of the first pixel (PS3.3 C.7.6.2.1.1).
        orientation: the unit vectors along a row and along a column.
        spacing: mm from row to row and from column to column.
        step: mm from slice to slice that the header claims, for want of positions.
        slope: from stored to rescaled values.
        intercept: from stored to rescaled values.
        window: (centre, width) in rescaled values.
        window_function: VOILUTFunction, "LINEAR" where absent (PS3.3 C.11.2.1.3).
    """

    number: int
    position: Vector | None
    orientation: tuple[Vector, Vector] | None
    spacing: tuple[float, float] | None
    step: float | None
    slope: float
    intercept: float
    window: tuple[float, float] | None
    window_function: str


@dataclass(frozen=True)
class Instance:
    """One DICOM file that holds an image.

    Attributes:
        path: the file.
        transfer_syntax: of the pixels; the guessed one where the file does not say.
        in_parts: pydicom can read a frame without the rest of the file.
        uid: hashed SOPInstanceUID, None where missing.
        study: hashed StudyInstanceUID.
        series: hashed SeriesInstanceUID.
        modality: DICOM Modality, "" where missing.
        rows: pixel rows.
        columns: pixel columns.
        color: three samples per pixel, or a palette.
        palette: PALETTE COLOR.
        inverted: MONOCHROME1: low stored values are bright (PS3.3 C.7.6.3.1.2).
        bits_allocated: bits per sample in the file.
        bits_stored: bits of these that are the value.
        low_bit: the lowest of these, mostly 0; other bits may hold anything, such as overlays.
        signed: stored values are two's complement.
        padding: lowest and highest stored value that is no image content (PS3.3 C.7.5.1.1.2), with all bits from
            `low_bit` up.
        modality_lut: stored values go through a table (PS3.3 C.11.1).
        voi_lut: the first frame has a VOI table instead of, or beside, a window (PS3.3 C.11.2).
        whole_frames: number of compressed frames before the file is cut off, None where it is not.
        time: what orders the instances at one position, by falling precedence.
        number: InstanceNumber.
        region: first row, end row, first column, end column of the ultrasound image in the frame, None where the file
            does not say.
        frames: one entry per frame, in file order.
    """

    path: Path
    transfer_syntax: UID
    in_parts: bool
    uid: str | None
    study: str
    series: str
    modality: str
    rows: int
    columns: int
    color: bool
    palette: bool
    inverted: bool
    bits_allocated: int
    bits_stored: int
    low_bit: int
    signed: bool
    padding: tuple[float, float] | None
    modality_lut: bool
    voi_lut: bool
    whole_frames: int | None
    time: tuple[int, int]
    number: int | None
    region: tuple[int, int, int, int] | None
    frames: tuple[FrameHeader, ...]


def is_dicom(path: Path) -> bool:
    """Tell DICOM by its content: the "DICM" prefix, or a bare data set with a fitting name (PS3.10 7.1).

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as stream:
        start = stream.read(_PREAMBLE_BYTES)
    if start[128:] == b"DICM":
        return True
    return split_suffix(path)[1] in _BARE_SUFFIXES and start[:2] in _BARE_STARTS


def read_instance(path: Path) -> Instance:
    """Read the headers of one DICOM file, up to its pixels.

    Raises:
        ScanError: damaged, without pixels, a derived object, over the limits, or in an encoding that cannot
            be decoded. The message names the kind of object.
    """
    with reading(path, "the DICOM headers cannot be read"):
        return _instance(path, *_read_headers(path))


def _read_headers(path: Path) -> tuple[Dataset, bool, Fragments | None]:
    """Return the data set, whether pixels follow, and what they are made of if they are compressed."""
    with path.open("rb") as stream:
        bare = stream.read(_PREAMBLE_BYTES)[128:] != b"DICM"
    transfer_syntax = None
    if not bare:
        meta = read_file_meta_info(path)
        transfer_syntax = meta.get("TransferSyntaxUID")
        if transfer_syntax == DeflatedExplicitVRLittleEndian:
            # Preamble and prefix, then the group length element (12 bytes) and the group it measures.
            check_inflated_size(path, _PREAMBLE_BYTES + 12 + int(meta.FileMetaInformationGroupLength))
    with path.open("rb") as stream:
        dataset = dcmread(stream, stop_before_pixels=True, specific_tags=_KEYWORDS, force=bare)
        if transfer_syntax == DeflatedExplicitVRLittleEndian:
            return dataset, True, None  # the inflated copy has been read, the stream says nothing
        # Reading stopped at the pixel data element (tag, VR, length), or at the end.
        element = stream.read(_PIXEL_ELEMENT_BYTES)
        encapsulated = element[8:] == b"\xff\xff\xff\xff"
        return dataset, len(element) >= 4, survey_fragments(stream) if encapsulated else None


def _instance(path: Path, dataset: Dataset, has_pixels: bool, fragments: Fragments | None) -> Instance:
    meta = dataset.file_meta
    sop_class = UID(_text(dataset, "SOPClassUID") or str(meta.get("MediaStorageSOPClassUID", "")))
    kind = _standard_name(sop_class) or "unknown kind of object"
    if sop_class in _DERIVED:
        raise NotAScanError(f"{path}: {kind} is a derived object or not a scan ({_DERIVED[sop_class]})")
    if _text(dataset, "ManufacturerModelName") == _OWN_MODEL:
        raise NotAScanError(f"{path}: a result of this program")
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    if not rows or not columns or not has_pixels:
        if "Image Storage" in kind:
            raise ScanError(
                f"{path}: the pixels of this {kind.removesuffix(' Storage')} are missing, the file is damaged"
            )
        raise NotAScanError(f"{path}: no image pixels ({kind})")

    transfer_syntax = _transfer_syntax(dataset)
    try:
        get_decoder(transfer_syntax)
    except NotImplementedError:
        raise ScanError(f"{path}: {_undecodable(transfer_syntax)}") from None

    samples = _integer(dataset, "SamplesPerPixel") or 1
    photometric = _text(dataset, "PhotometricInterpretation")
    allocated = _integer(dataset, "BitsAllocated") or 0
    stored = _integer(dataset, "BitsStored") or allocated
    frame_count = _integer(dataset, "NumberOfFrames") or 1
    if samples not in (1, 3) or not 0 < stored <= allocated <= 64 or frame_count < 1:
        raise ScanError(f"{path}: {samples} samples of {stored} in {allocated} bits per pixel are not supported")
    if photometric not in (_COLORS if samples == 3 else _GREYS):
        known = photometric if re.fullmatch(r"[A-Z0-9_ ]{1,16}", photometric) else "unknown"
        raise ScanError(
            f"{path}: {samples} samples per pixel of photometric interpretation {known} are not supported, "
            "convert the file to MONOCHROME2 or RGB"
        )
    modality_lut = bool(dataset.get("ModalityLUTSequence"))
    if modality_lut and stored > _TABLE_BITS:
        raise ScanError(f"{path}: a modality table for values of {stored} bits, the file is damaged")
    low_bit = (_integer(dataset, "HighBit") or stored - 1) - (stored - 1)
    native = not transfer_syntax.is_encapsulated or transfer_syntax == RLELossless
    if not 0 <= low_bit <= (allocated - stored if native else 0):
        raise ScanError(
            f"{path}: the header's HighBit contradicts its BitsStored or BitsAllocated, the file is damaged"
        )
    for size in fragments.sizes if fragments else ():
        if size != (rows, columns):
            raise ScanError(
                f"{path}: a compressed picture has {size[0]} rows and {size[1]} columns and the header says "
                f"{rows} and {columns}: export the file again"
            )
    sample_bytes = math.ceil(allocated / 8)
    check_size(path, rows * columns * samples * max(sample_bytes, WORKING_BYTES))
    check_size(path, rows * columns * samples * sample_bytes, frame_count)

    modality = _text(dataset, "Modality")
    uid = _text(dataset, "SOPInstanceUID")
    series = _text(dataset, "SeriesInstanceUID") or uid or path.name
    signed = _integer(dataset, "PixelRepresentation") == 1
    return Instance(
        path=path,
        transfer_syntax=transfer_syntax,
        in_parts=meta.get("TransferSyntaxUID") not in (None, DeflatedExplicitVRLittleEndian),
        uid=hash_uid(uid) if uid else None,
        study=hash_uid(_text(dataset, "StudyInstanceUID") or series),
        series=hash_uid(series),
        modality=modality if re.fullmatch(r"[A-Z0-9_]{1,16}", modality) else "",
        rows=rows,
        columns=columns,
        color=samples == 3 or photometric == "PALETTE COLOR",
        palette=photometric == "PALETTE COLOR",
        inverted=photometric == "MONOCHROME1",
        bits_allocated=allocated,
        bits_stored=stored,
        low_bit=low_bit,
        signed=signed,
        padding=_padding(dataset, allocated, signed),
        modality_lut=modality_lut,
        voi_lut=voi_item(dataset, 0) is not None,
        # Frames of several fragments are rare, and a single frame is whole only if nothing is missing.
        whole_frames=_whole_frames(fragments, frame_count),
        time=(
            _integer(dataset, "TemporalPositionIdentifier") or 0,
            _integer(dataset, "AcquisitionNumber") or 0,
        ),
        number=_integer(dataset, "InstanceNumber"),
        region=_ultrasound_region(dataset, rows, columns),
        frames=_frames(dataset, frame_count),
    )


def _whole_frames(fragments: Fragments | None, frame_count: int) -> int | None:
    if fragments is None or fragments.whole is None:
        return None
    return 0 if frame_count == 1 else fragments.whole


def _standard_name(uid: UID) -> str:
    """The name that the standard gives, "" for others: what stands in place of a UID may be any part of the file."""
    return "" if uid.name == uid else uid.name


def _undecodable(syntax: UID) -> str:
    name = _standard_name(syntax) or "an unknown transfer syntax"
    if re.search("MPEG|HEVC", name):
        return f"a video ({name}) cannot be decoded, take its frames out as pictures first, such as with ffmpeg"
    return (
        f"pixels encoded as {name} cannot be decoded, "
        "convert the file to Explicit VR Little Endian first, such as with gdcmconv --raw"
    )


def _transfer_syntax(dataset: Dataset) -> UID:
    if declared := dataset.file_meta.get("TransferSyntaxUID"):
        return UID(declared)
    implicit, little_endian = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian


def _padding(dataset: Dataset, bits_allocated: int, signed: bool) -> tuple[float, float] | None:
    for kind in ("", "Float", "DoubleFloat"):
        value = _floats(dataset, f"{kind}PixelPaddingValue", 1)
        if value is None:
            continue
        ends = [value[0], (_floats(dataset, f"{kind}PixelPaddingRangeLimit", 1) or value)[0]]
        if not kind:
            # Some writers give a negative value with an unsigned type: -2000 as 63536.
            ends = [_wrapped(int(end), bits_allocated, signed) for end in ends]
        return min(ends), max(ends)
    return None


def _wrapped(value: int, bits: int, signed: bool) -> int:
    value %= 1 << bits
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value


def _frames(dataset: Dataset, count: int) -> tuple[FrameHeader, ...]:
    """Read each frame's own functional groups, then the shared ones, then the top level (PS3.3 C.7.6.16)."""
    shared = _items(dataset, "SharedFunctionalGroupsSequence")[:1]
    per_frame = _items(dataset, "PerFrameFunctionalGroupsSequence")
    calibration = _ultrasound_spacing(dataset)
    plane, offsets = _nuclear_planes(dataset, count)
    frames: list[FrameHeader] = []
    common: FrameHeader | None = None
    for number, offset in enumerate(offsets):
        own = per_frame[number : number + 1]
        if own or common is None:
            header = _frame(dataset, plane, calibration, [*own, *shared])
            common = common if own else header
        else:
            header = common  # of very many frames
        frames.append(replace(header, number=number, position=_shifted(header.position, offset)))
    return tuple(frames)


def _frame(
    dataset: Dataset, plane: Dataset, calibration: tuple[float, float] | None, groups: list[Dataset]
) -> FrameHeader:
    """Read what the functional groups of a frame say, and for want of them the top level."""
    measures = _macro(dataset, groups, "PixelMeasuresSequence")
    values = _macro(dataset, groups, "PixelValueTransformationSequence")
    voi = _macro(dataset, groups, "FrameVOILUTSequence")
    slope, intercept = _floats(values, "RescaleSlope", 1), _floats(values, "RescaleIntercept", 1)
    return FrameHeader(
        number=0,
        position=_vector(_macro(plane, groups, "PlanePositionSequence"), "ImagePositionPatient"),
        orientation=_orientation(_macro(plane, groups, "PlaneOrientationSequence")),
        spacing=_spacing(measures, "PixelSpacing") or _spacing(dataset, "ImagerPixelSpacing") or calibration,
        step=_length(measures, "SpacingBetweenSlices") or _length(measures, "SliceThickness"),
        slope=slope[0] if slope and slope[0] else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        window=_window(voi),
        window_function=_text(voi, "VOILUTFunction") or "LINEAR",
    )


def _nuclear_planes(dataset: Dataset, count: int) -> tuple[Dataset, list[Vector | None]]:
    """Return what holds the position and the orientation, and where each frame lies from that position, in mm.

    Nuclear medicine gives one position for all frames, often with the detector. Of reconstructed slices it is that of
    the first, from which they are stacked along the normal, or against it if the spacing is negative (PS3.3 C.8.4.15).
    The other kinds of frames are projections, of which only a single one has a place.
    """
    nowhere: list[Vector | None] = [(0.0, 0.0, 0.0)] * count
    if _text(dataset, "Modality") not in ("NM", "PT") or _items(dataset, "PerFrameFunctionalGroupsSequence"):
        return dataset, nowhere
    detectors = _items(dataset, "DetectorInformationSequence")[:1]
    plane = next((d for d in (dataset, *detectors) if _vector(d, "ImagePositionPatient")), dataset)
    if count == 1:
        return plane, nowhere
    kind = dataset.get("ImageType")
    orientation, step = _orientation(plane), _floats(dataset, "SpacingBetweenSlices", 1)
    if not (isinstance(kind, MultiValue) and len(kind) > 2 and kind[2] in ("RECON TOMO", "RECON GATED TOMO")):
        return plane, [None] * count
    numbers = _floats(dataset, "SliceVector", count) or list(range(1, count + 1))
    if orientation is None or not step or not step[0]:
        return plane, [None] * count
    normal = np.cross(*orientation) * step[0]
    return plane, [(float(x), float(y), float(z)) for x, y, z in np.outer(np.subtract(numbers, 1), normal)]


def _shifted(position: Vector | None, offset: Vector | None) -> Vector | None:
    if position is None or offset is None:
        return None
    return position[0] + offset[0], position[1] + offset[1], position[2] + offset[2]


def _macro(dataset: Dataset, groups: list[Dataset], keyword: str) -> Dataset:
    for group in groups:
        if items := _items(group, keyword):
            return items[0]
    return dataset


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    return list(dataset.get(keyword) or [])


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _integer(dataset: Dataset, keyword: str) -> int | None:
    values = _floats(dataset, keyword, 1)
    return int(values[0]) if values else None


def _floats(dataset: Dataset, keyword: str, count: int) -> list[float] | None:
    """Return the first `count` values, None where they are missing, malformed or not finite."""
    try:
        value = dataset.get(keyword)
        values = [float(v) for v in (value if isinstance(value, MultiValue | list) else [value])][:count]
    except (TypeError, ValueError, OverflowError):
        return None
    return values if len(values) == count and all(math.isfinite(v) for v in values) else None


def _vector(dataset: Dataset, keyword: str) -> Vector | None:
    values = _floats(dataset, keyword, 3)
    return (values[0], values[1], values[2]) if values else None


def _length(dataset: Dataset, keyword: str) -> float | None:
    values = _floats(dataset, keyword, 1)
    # Nuclear medicine writes negative SpacingBetweenSlices for the direction of the stack.
    return abs(values[0]) if values and values[0] else None


def _spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    values = _floats(dataset, keyword, 2)
    return (values[0], values[1]) if values and min(values) > 0 else None


def _orientation(dataset: Dataset) -> tuple[Vector, Vector] | None:
    values = _floats(dataset, "ImageOrientationPatient", 6)
    if not values:
        return None
    along_row, along_column = np.array(values[:3]), np.array(values[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(along_row @ along_column) > 0.01:
        return None  # not the two unit vectors that PS3.3 C.7.6.2.1.1 asks for
    row, column = (along_row / lengths[0]).tolist(), (along_column / lengths[1]).tolist()
    return (row[0], row[1], row[2]), (column[0], column[1], column[2])


def _window(dataset: Dataset) -> tuple[float, float] | None:
    centre, width = _floats(dataset, "WindowCenter", 1), _floats(dataset, "WindowWidth", 1)
    return (centre[0], width[0]) if centre and width and width[0] > 0 else None


def _ultrasound_region(dataset: Dataset, rows: int, columns: int) -> tuple[int, int, int, int] | None:
    """Return first row, end row, first column and end column of the box around all 2-D image regions.

    Text, rulers, colour bars and Doppler curves lie outside of it, or are regions of another kind (PS3.3 C.8.5.5).
    """
    boxes = []
    for region in _items(dataset, "SequenceOfUltrasoundRegions"):
        corners = [_integer(region, f"RegionLocation{corner}") for corner in ("MinY0", "MaxY1", "MinX0", "MaxX1")]
        if _integer(region, "RegionSpatialFormat") == 1 and None not in corners:
            top, bottom, left, right = (int(corner or 0) for corner in corners)
            box = max(top, 0), min(bottom + 1, rows), max(left, 0), min(right + 1, columns)
            if box[0] < box[1] and box[2] < box[3]:
                boxes.append(box)
    if not boxes:
        return None
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return min(tops), max(bottoms), min(lefts), max(rights)


def _ultrasound_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Return the spacing of the largest region that is calibrated in centimetres (PS3.3 C.8.5.5)."""
    best, best_area = None, -1.0
    for region in _items(dataset, "SequenceOfUltrasoundRegions"):
        units = {_integer(region, f"PhysicalUnits{axis}Direction") for axis in "XY"}
        deltas = [_length(region, f"PhysicalDelta{axis}") for axis in "YX"]
        corners = [_integer(region, f"RegionLocation{corner}") or 0 for corner in ("MinX0", "MaxX1", "MinY0", "MaxY1")]
        area = float((corners[1] - corners[0]) * (corners[3] - corners[2]))
        if units == {3} and deltas[0] and deltas[1] and area > best_area:
            best, best_area = (deltas[0] * 10, deltas[1] * 10), area
    return best
