"""Decodes one DICOM frame and brings its values to display sense and rescaled units."""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

from anomalyclip_med.data.dicom_header import FrameHeader, Instance
from anomalyclip_med.data.reading import reading
from anomalyclip_med.errors import ScanError

_COLORS = ("Red", "Green", "Blue")
# Modality LUT Sequence, and the descriptors, data and segmented data of the three palettes.
_TABLE_TAGS = [
    0x00283000,
    *range(0x00281101, 0x00281104),
    *range(0x00281201, 0x00281204),
    *range(0x00281221, 0x00281224),
]
# The scan header of a sequential JPEG of one or three components, and what it says of the coefficients.
_JPEG_SCAN = re.compile(rb"(\xff\xda\x00(?:\x08\x01.{2}|\x0c\x03.{6})).{3}", re.DOTALL)


def read_frame(instance: Instance, frame: FrameHeader) -> np.ndarray:
    """Read one frame.

    Returns:
        (rows, columns) float32 in rescaled units, or (rows, columns, 3) uint8 RGB where the instance is
        colour. MONOCHROME1 is inverted, so that bright is bright, except for CT, whose Hounsfield units stay
        what they are. Padding is given the lowest value of the rest.

    Raises:
        ScanError: the pixels are truncated, damaged or cannot be decoded.
    """
    with reading(instance.path, "the pixel data cannot be decoded, it is truncated or damaged"):
        if instance.whole_frames is not None and frame.number >= instance.whole_frames:
            raise ScanError(f"{instance.path}: the pixel data of frame {frame.number + 1} is truncated")
        stored, dataset = _decode(instance, frame.number)
        expected = (instance.rows, instance.columns)
        if stored.shape[:2] != expected or stored.ndim != (3 if instance.color and not instance.palette else 2):
            raise ScanError(f"{instance.path}: the pixel data does not have the size that the header gives")
        stored = stored >> instance.low_bit if instance.low_bit else stored
        if instance.palette:
            return _palette_colors(dataset, _value_bits(instance, stored))
        if instance.color:
            return _to_8_bits(stored, instance.bits_stored)
        return _grey_values(instance, frame, stored, dataset)


def inversion(instance: Instance, frame: FrameHeader, dataset: Dataset | None = None) -> float | None:
    """Return the sum of a rescaled value and its inverted one, None where values are not inverted.

    The range that is mirrored is that of the stored type, so all frames of a series are mirrored alike.

    Args:
        instance: the file.
        frame: one of its frames.
        dataset: the file's modality table, where it has one.
    """
    if not instance.inverted or instance.modality == "CT":
        return None
    low, high = _stored_limits(instance)
    if instance.modality_lut and dataset is not None:
        table = apply_modality_lut(np.arange(low, high + 1), dataset)
        return float(table.min()) + float(table.max())
    return frame.slope * (low + high) + 2 * frame.intercept


def _to_8_bits(colors: np.ndarray, bits: int) -> np.ndarray:
    """Scale unsigned colour samples of `bits` bits to uint8 by dropping the low bits."""
    return (colors >> max(bits - 8, 0)).astype(np.uint8)


def _decode(instance: Instance, number: int) -> tuple[np.ndarray, Dataset]:
    # The unused bits may hold padding, which the caller looks for before it clears them.
    packed = instance.bits_allocated == 1
    sequential = instance.transfer_syntax in (JPEGBaseline8Bit, JPEGExtended12Bit)
    if instance.in_parts and not packed:
        dataset = Dataset()
        # A data set in another encoding than it declares (implicit VR for explicit) is understood only as a
        # whole; so is one without transfer syntax, and a deflated one. Some pictures need to be mended.
        with suppress(ValueError, *([RuntimeError] if sequential else [])):
            pixels = pixel_array(
                instance.path,
                ds_out=dataset,
                specific_tags=_TABLE_TAGS,
                index=number,
                correct_unused_bits=False,
            )
            return pixels, dataset
    whole = dcmread(instance.path, force=True)
    whole.file_meta.TransferSyntaxUID = instance.transfer_syntax
    if sequential:
        # The scans of these have all 64 coefficients, whatever they say (ISO 10918-1 table B.3).
        whole.PixelData = _JPEG_SCAN.sub(b"\\1\x00\x3f\x00", whole.PixelData)
    if packed:  # pydicom fails on a single frame that ends inside of a byte
        return pixel_array(whole).reshape(-1, instance.rows, instance.columns)[number], whole
    return pixel_array(whole, index=number, correct_unused_bits=False), whole


def _grey_values(instance: Instance, frame: FrameHeader, stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    # Padding is compared with all the bits that are stored: it may lie outside of the values' own range.
    padded = np.zeros(stored.shape, dtype=bool)
    if instance.padding is not None:
        padded = (stored >= instance.padding[0]) & (stored <= instance.padding[1])
    stored = _value_bits(instance, stored)
    if instance.modality_lut:
        values = apply_modality_lut(stored, dataset).astype(np.float64)
    else:
        values = stored.astype(np.float64) * frame.slope + frame.intercept
    total = inversion(instance, frame, dataset)
    if total is not None:
        values = total - values
    if padded.any() and not padded.all():
        values[padded] = values[~padded].min()
    return values.astype(np.float32)


def _value_bits(instance: Instance, stored: np.ndarray) -> np.ndarray:
    """Clear the bits above the value's, which may hold overlays or padding (PS3.5 8.1.1)."""
    unused = stored.dtype.itemsize * 8 - instance.bits_stored
    if instance.bits_allocated == instance.bits_stored or stored.dtype.kind == "f":
        return stored
    return (stored << unused) >> unused


def _stored_limits(instance: Instance) -> tuple[int, int]:
    if instance.signed:
        return -(1 << (instance.bits_stored - 1)), (1 << (instance.bits_stored - 1)) - 1
    return 0, (1 << instance.bits_stored) - 1


def _palette_colors(dataset: Dataset, indices: np.ndarray) -> np.ndarray:
    """Look colours up (PS3.3 C.7.6.3.1.5 and C.7.9).

    Entries are 8 or 16 bits wide whatever the descriptor says, and 16-bit entries often hold 8-bit colours,
    so the width is taken from the data's length, and 16 bits are scaled down only where they are used.
    """
    entries, first, _ = dataset.RedPaletteColorLookupTableDescriptor
    entries = entries or 1 << 16
    places = np.clip(indices.astype(np.int64) - int(first), 0, entries - 1)
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        table = apply_color_lut(np.arange(first, first + entries), dataset)[:, :3]
    else:
        little_endian = dataset.original_encoding[1]
        columns = []
        for color in _COLORS:
            data = bytes(dataset[f"{color}PaletteColorLookupTableData"].value)
            width = np.dtype(np.uint8) if len(data) < 2 * entries else np.dtype("<u2" if little_endian else ">u2")
            columns.append(np.frombuffer(data, dtype=width, count=entries))
        table = np.stack(columns, axis=-1).astype(np.uint16)
    if table.max() > 255:
        table = table >> 8
    return table.astype(np.uint8)[places]
