"""Damaged scans for the fuzzer of the readers: real and self-made files, and what is done to them.

`mutated` gives the same input for the same seed files, seed and number, on every machine.
"""

from __future__ import annotations

import gzip
import io
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import nibabel as nib
import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID, AllTransferSyntaxes

SENTINEL = "Zebraleak"
"""The patient's name and ID in every file that can hold one; it must never come out."""

MAX_SEED_BYTES = 600_000
FORMATS = {"dicom": 9, "nifti": 3, "picture": 3, "tiff": 3, "nrrd": 2, "metaimage": 2}
"""How often each format is drawn."""

_VOLUMES = (".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd")
_SUFFIXES = ("", ".dcm", *_VOLUMES, ".png", ".jpg", ".bmp", ".tif", ".txt")
_NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 64, 127, 128, 255, 256, 512, 4096, 32767, 32768, 65535)
_LARGE = (*_NUMBERS, 65536, 131073, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, -1, -32768)
_REALS = ("nan", "inf", "-inf", "1e308", "-1e308", "1e-320", "0", "-1", "1e39", "", "text", "1e", "0.5", "70000", "1,5")
_PATHS = ("../../etc/passwd", "/etc/passwd", "/dev/zero", "..", ".", "", "missing.raw", "LIST", "slice%03d.raw 1 3 1")


@dataclass
class Case:
    """One input.

    Attributes:
        format: which of `FORMATS`.
        name: the file that is read.
        files: contents by name, that of `name` first.
        recipe: the seed file, and what was done to it.
        bomb: it inflates to so much that nothing here should open it again.
    """

    format: str
    name: str
    files: dict[str, bytes]
    recipe: list[str] = field(default_factory=list)
    bomb: bool = False

    @property
    def content(self) -> bytes:
        """The file that is read."""
        return self.files[self.name]

    @content.setter
    def content(self, content: bytes) -> None:
        self.files[self.name] = content


def mutated(seeds: dict[str, list[Case]], seed: int, number: int) -> Case:
    """Draw a seed file and damage it."""
    random = Random(f"{seed}:{number}")
    formats = [f for f in FORMATS if seeds.get(f)]
    chosen = random.choice(seeds[random.choices(formats, [FORMATS[f] for f in formats])[0]])
    case = Case(chosen.format, chosen.name, dict(chosen.files), [chosen.name])
    aware = _MUTATORS[case.format]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if case.bomb:
            break
        mutate = random.choice(aware) if random.random() < 0.7 else random.choice(_BYTES)
        try:
            done = mutate(case, random)
        except (RecursionError, Exception):  # an earlier step may have broken what this one looks for
            done = _flip(case, random)
        case.recipe.append(f"{mutate.__name__.strip('_')}: {done}")
    if random.random() < 0.03:
        suffix = random.choice(_SUFFIXES)
        case.files = {f"renamed{suffix}" if n == case.name else n: c for n, c in case.files.items()}
        case.name = f"renamed{suffix}"
        case.recipe.append(f"renamed to *{suffix}")
    return case


# Seed files


def seed_files(data: Path | None = None, packages: bool = True) -> dict[str, list[Case]]:
    """Collect the files to damage, by format.

    Args:
        data: a folder of real images, of which the small ones are used.
        packages: with the files in pydicom's and nibabel's packages.
    """
    cases = [*_made_dicom(), *_made_nifti(), *_made_pictures(), *_made_tiff(), *_made_itk()]
    if packages:
        cases += _from_folder(Path(pydicom.__file__).parent / "data" / "test_files")
        cases += _from_folder(Path(nib.__file__).parent / "tests" / "data")
    if data is not None:
        for folder in sorted(p for p in data.iterdir() if p.is_dir()):
            found = _from_folder(folder)
            cases += found[:: max(1, len(found) // 12)]
    return {f: [c for c in cases if c.format == f] for f in FORMATS}


def _from_folder(folder: Path) -> list[Case]:
    cases = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.stat().st_size > MAX_SEED_BYTES:
            continue
        content = path.read_bytes()
        suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".nii.gz") else path.suffix.lower()
        if content[128:132] == b"DICM":
            # Most inputs should get as far as pixels.
            if b"\xe0\x7f\x10\x00" in content or b"\x7f\xe0\x00\x10" in content:
                cases.append(Case("dicom", path.name, {path.name: _with_sentinel(content)}))
        elif suffix in (".nii", ".nii.gz"):
            cases.append(Case("nifti", path.name, {path.name: content}))
        elif suffix in (".nrrd", ".mha"):
            cases.append(Case("nrrd" if suffix == ".nrrd" else "metaimage", path.name, {path.name: content}))
        elif suffix in (".png", ".jpg", ".jpeg", ".bmp"):
            cases.append(Case("picture", path.name, {path.name: content}))
        elif suffix in (".tif", ".tiff"):
            cases.append(Case("tiff", path.name, {path.name: content}))
    return cases


def _with_sentinel(content: bytes) -> bytes:
    """Name the patient in a DICOM file; one that pydicom cannot write stays as it is."""
    try:
        dataset = dcmread(io.BytesIO(content))
        for keyword in ("PatientName", "PatientID", "OtherPatientNames", "PatientComments", "StudyDescription"):
            setattr(dataset, keyword, SENTINEL)
        dataset.private_block(0x0009, SENTINEL, create=True).add_new(1, "LO", SENTINEL)
        return _written(dataset)
    except Exception:
        return content


def _written(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    implicit, little = dataset.original_encoding
    dcmwrite(stream, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
    return stream.getvalue()


def _phantom(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) * 7 % 251).astype(np.int16)


def _made_dicom() -> list[Case]:
    cases = []
    for name, frames, bits, photometric in (
        ("grey", 1, 16, "MONOCHROME2"), ("inverted", 1, 8, "MONOCHROME1"), ("cine", 5, 8, "MONOCHROME2"),
        ("color", 1, 8, "RGB"), ("bits", 4, 1, "MONOCHROME2"), ("palette", 1, 8, "PALETTE COLOR"),
    ):  # fmt: skip
        dataset = Dataset()
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.4", "1.2.3", "1.2"
        dataset.Modality, dataset.PhotometricInterpretation = "MR" if bits > 1 else "OT", photometric
        dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 16, 24, frames
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
        dataset.SamplesPerPixel = 3 if photometric == "RGB" else 1
        if photometric == "RGB":
            dataset.PlanarConfiguration = 0
        if photometric == "PALETTE COLOR":
            for color in ("Red", "Green", "Blue"):
                setattr(dataset, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 8])
                setattr(dataset, f"{color}PaletteColorLookupTableData", bytes(range(256)))
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.5], 2
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -10
        dataset.WindowCenter, dataset.WindowWidth, dataset.PixelPaddingValue = 100, 200, 3
        table = Dataset()
        table.LUTDescriptor, table.LUTData, table.ModalityLUTType = [256, 0, 16], bytes(512), "US"
        if name == "inverted":
            dataset.ModalityLUTSequence = dataset.VOILUTSequence = [table]
            del dataset.WindowCenter
        pixels = _phantom(frames, 16, 24, dataset.SamplesPerPixel)
        packed = np.packbits(pixels & 1).tobytes()
        dataset.PixelData = packed if bits == 1 else pixels.astype(f"u{bits // 8}").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"):
            dataset.file_meta.TransferSyntaxUID = UID(syntax)
            stream = io.BytesIO()
            dcmwrite(stream, dataset, enforce_file_format=True)
            made = f"{name}{syntax[-2:].replace('.', '')}.dcm"
            cases.append(Case("dicom", made, {made: _with_sentinel(stream.getvalue())}))
    return cases


def _made_nifti() -> list[Case]:
    cases = []
    for kind, dtype in (
        (nib.Nifti1Image, np.int16), (nib.Nifti1Image, np.uint8), (nib.Nifti1Image, np.float32),
        (nib.Nifti2Image, np.float64), (nib.Nifti1Image, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])),
        (nib.Nifti1Image, ">i2"),
    ):  # fmt: skip
        for shape in ((9, 8, 7), (5, 6, 3, 4)):
            voxels = np.zeros(shape, dtype=dtype)
            if voxels.dtype.names is None:
                voxels[...] = _phantom(*shape)
            header = kind.header_class(endianness=">" if dtype == ">i2" else "<")
            image = kind(voxels, np.array([[-2, 0, 0, 5], [0, 0, 1, 4], [0, 3, 0, -3], [0, 0, 0, 1.0]]), header)
            image.set_data_dtype(voxels.dtype)
            image.header["descrip"] = SENTINEL
            content = image.to_bytes()
            for name in (f"made{len(cases)}.nii", f"made{len(cases)}.nii.gz"):
                cases.append(Case("nifti", name, {name: _zipped(content) if name.endswith("gz") else content}))
    return cases


def _made_pictures() -> list[Case]:
    ramp = _phantom(23, 31).astype(np.uint8)
    grey = Image.fromarray(ramp)
    rgb = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.ROTATE_180), grey))
    pictures = {
        "png": [grey, rgb, rgb.convert("RGBA"), grey.convert("LA"), grey.convert("1"), rgb.convert("P")],
        "jpg": [grey, rgb, rgb.convert("CMYK")],
        "bmp": [grey, rgb, rgb.convert("P"), grey.convert("1")],
    }
    pictures["png"].append(Image.fromarray(ramp.astype(np.uint16) * 200))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, SENTINEL
    cases = []
    for suffix, images in pictures.items():
        for i, image in enumerate(images):
            for variant in (0, 1):
                stream = io.BytesIO()
                options = {"exif": exif, "progressive": True} if variant and suffix != "bmp" else {}
                image.save(stream, {"jpg": "jpeg"}.get(suffix, suffix), **options)
                name = f"made{i}{variant}.{suffix}"
                cases.append(Case("picture", name, {name: stream.getvalue()}))
    return cases


def _made_tiff() -> list[Case]:
    cases = []
    grey, rgb = _phantom(40, 48), np.stack([_phantom(40, 48)] * 3, axis=-1).astype(np.uint8)
    for i, (pixels, options) in enumerate((
        (grey.astype(np.uint8), {}), (grey.astype(np.uint16), {"bigtiff": True}), (rgb, {"tile": (16, 16)}),
        (grey.astype(np.float32), {"compression": "zlib"}), (rgb, {"compression": "zlib", "predictor": True}),
        (rgb.astype(np.uint16) * 200, {"planarconfig": "contig"}), (np.stack([grey] * 4), {}),
        (rgb.transpose(2, 0, 1), {"planarconfig": "separate", "photometric": "rgb"}), (grey, {"byteorder": ">"}),
    )):  # fmt: skip
        stream = io.BytesIO()
        tifffile.imwrite(stream, pixels, description=SENTINEL, **options)
        cases.append(Case("tiff", f"made{i}.tif", {f"made{i}.tif": stream.getvalue()}))
    picture = Image.fromarray(rgb)
    for mode, compression in (
        ("1", "group4"), ("1", "group3"), ("L", "tiff_lzw"), ("RGB", "jpeg"), ("P", "packbits"),
        ("L", "tiff_adobe_deflate"), ("CMYK", "raw"), ("LA", "raw"),
        ("RGBA", "tiff_lzw"), ("YCbCr", "raw"), ("I;16", "raw"),
    ):  # fmt: skip
        stream = io.BytesIO()
        picture.convert("L" if mode == "I;16" else mode).convert(mode).save(stream, "tiff", compression=compression)
        name = f"made-{mode.replace(';', '')}-{compression}.tif"
        cases.append(Case("tiff", name, {name: stream.getvalue()}))
    return cases


def _made_itk() -> list[Case]:
    cases = []
    for dtype, nrrd, meta in ((np.int16, "short", "MET_SHORT"), (np.uint8, "uchar", "MET_UCHAR"),
                              (np.float32, "float", "MET_FLOAT")):  # fmt: skip
        voxels = _phantom(4, 5, 6).astype(dtype).tobytes()
        common = f"type: {nrrd}\ndimension: 3\nsizes: 6 5 4\nendian: little\nspace: left-posterior-superior\n"
        common = f"NRRD0005\n# {SENTINEL}\n{common}space directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (1,2,3)\n"
        for encoding, data in (
            ("raw", voxels),
            ("gzip", gzip.compress(voxels, mtime=0)),
            ("hex", voxels.hex().encode()),
        ):
            head = f"{common}patient:={SENTINEL}\nencoding: {encoding}\n"
            cases.append(Case("nrrd", f"{encoding}.nrrd", {f"{encoding}.nrrd": f"{head}\n".encode() + data}))
            files = {f"{encoding}.nhdr": f"{head}data file: voxels.raw\n".encode(), "voxels.raw": data}
            cases.append(Case("nrrd", f"{encoding}.nhdr", files))
        for packed, data in (("False", voxels), ("True", zlib.compress(voxels))):
            head = (
                f"ObjectType = Image\nNDims = 3\nComment = {SENTINEL}\n"
                "BinaryData = True\nBinaryDataByteOrderMSB = False\n"
                f"CompressedData = {packed}\nCompressedDataSize = {len(data)}\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
                f"Offset = 1 2 3\nElementSpacing = 1 1 2\nDimSize = 6 5 4\nElementNumberOfChannels = 1\n"
                f"ElementType = {meta}\nElementDataFile = "
            )
            cases.append(Case("metaimage", "made.mha", {"made.mha": f"{head}LOCAL\n".encode() + data}))
            files = {"made.mhd": f"{head}voxels.raw\n".encode(), "voxels.raw": data}
            cases.append(Case("metaimage", "made.mhd", files))
    color = {"made.nrrd": b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 6 5\nkinds: RGB-color domain domain\n"
             b"encoding: raw\n\n" + bytes(90)}  # fmt: skip
    return [*cases, Case("nrrd", "made.nrrd", color)]


def _zipped(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)


@cache
def _zeros(mebibytes: int) -> bytes:
    """A raw deflate stream of zeros, made of equal blocks so that it costs no time."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + deflate.flush()


# Bytes of any format


def _flip(case: Case, random: Random) -> str:
    content = bytearray(case.content or b"\0")
    # Headers are small, so half of the damage is done to them.
    end = len(content) if random.random() < 0.5 else min(len(content), 1024)
    places = [random.randrange(end) for _ in range(random.choice((1, 2, 8, 64)))]
    for place in places:
        content[place] = random.choice((random.randrange(256), 0, 255, content[place] ^ (1 << random.randrange(8))))
    case.content = bytes(content)
    return f"{len(places)} bytes from {min(places)}"


def _truncate(case: Case, random: Random) -> str:
    case.content = case.content[: random.randrange(len(case.content) + 1)]
    return f"to {len(case.content)}"


def _remove(case: Case, random: Random) -> str:
    at, length = random.randrange(len(case.content)), random.choice((1, 2, 16, 512))
    case.content = case.content[:at] + case.content[at + length :]
    return f"{length} bytes at {at}"


def _duplicate(case: Case, random: Random) -> str:
    at, length = random.randrange(len(case.content)), random.choice((1, 4, 64, 4096))
    case.content = case.content[: at + length] * random.choice((1, 2)) + case.content[at:]
    return f"{length} bytes at {at}"


def _splice(case: Case, random: Random) -> str:
    at, start = random.randrange(len(case.content)), random.randrange(len(case.content))
    length = random.choice((4, 32, 1024))
    case.content = case.content[:at] + case.content[start : start + length] + case.content[at + length :]
    return f"{length} bytes from {start} to {at}"


def _word(case: Case, random: Random) -> str:
    kind = random.choice(("<H", ">H", "<I", ">I", "<Q", "<f", "<d"))
    size = struct.calcsize(kind)
    at = random.randrange(max(1, min(len(case.content), random.choice((512, 1 << 20))) - size))
    value = random.choice(_LARGE) % (1 << 8 * size)
    if kind[1] in "fd":
        packed = struct.pack(kind, random.choice((float("nan"), float("inf"), -1e30, 1e-30, 3.4e38)))
    else:
        packed = struct.pack(kind, value)
    case.content = case.content[:at] + packed + case.content[at + size :]
    return f"{kind} {packed.hex()} at {at}"


_BYTES: list[Callable[[Case, Random], str]] = [_flip, _flip, _truncate, _remove, _duplicate, _splice, _word]


# DICOM

_INTEGERS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PlanarConfiguration",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "SmallestImagePixelValue",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor", "LUTDescriptor",
    "NumberOfSlices", "SliceVector",
)  # fmt: skip
_TEXTS = (
    "NumberOfFrames", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "RescaleSlope",
    "RescaleIntercept", "WindowCenter", "WindowWidth", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "ImagerPixelSpacing", "SpacingBetweenSlices", "SliceThickness",
)  # fmt: skip
_WORDS = {
    "PhotometricInterpretation": (
        "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "ARGB",
        "HSV", "", "x" * 70,
    ),
    "Modality": ("CT", "MR", "NM", "PT", "US", "", "..", "A/B"),
    "VOILUTFunction": ("LINEAR", "SIGMOID", "LINEAR_EXACT", "?"),
    "ImageType": ("ORIGINAL\\PRIMARY\\RECON TOMO", "DERIVED", "", "\\\\\\"),
    "SOPClassUID": ("1.2.840.10008.5.1.4.1.1.20", "1.2.840.10008.5.1.4.1.1.66.4", "1.2", "", "x" * 100),
    "SeriesInstanceUID": ("", "1.2.3", "../..", "x" * 200), "SOPInstanceUID": ("", "1.2.3", "\0"),
    "SpecificCharacterSet": ("ISO_IR 192", "ISO 2022 IR 87", "nonsense", "\\\\"),
}  # fmt: skip
_SEQUENCES = (
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "VOILUTSequence", "ModalityLUTSequence",
    "SequenceOfUltrasoundRegions", "DetectorInformationSequence",
)  # fmt: skip
_ITEM, _UNDEFINED = b"\xfe\xff\x00\xe0", b"\xff\xff\xff\xff"


def _place(dataset: Dataset, random: Random) -> Dataset:
    """The data set itself or, at times, an item of one of its sequences."""
    while random.random() < 0.5:
        items = [i for e in dataset if e.VR == "SQ" and e.value for i in e.value[:2]]
        if not items:
            break
        dataset = random.choice(items)
    return dataset


def _put(dataset: Dataset, keyword: str, value: bytes, order: tuple[bool, bool], vr: str | None = None) -> None:
    tag = Tag(tag_for_keyword(keyword))
    dataset._dict[tag] = RawDataElement(tag, vr or dictionary_VR(tag)[:2], len(value), value, 0, *order)


def _dicom_number(case: Case, random: Random) -> str:
    dataset = dcmread(io.BytesIO(case.content), force=True)
    order = dataset.original_encoding
    keyword = random.choice(_INTEGERS)
    target = _place(dataset, random)
    values = [random.choice(_NUMBERS) for _ in range(3 if "Descriptor" in keyword else random.choice((1, 1, 1, 0, 2)))]
    _put(target, keyword, struct.pack(f"{'<' if order[1] else '>'}{len(values)}H", *values), order, "US")
    case.content = _written(dataset)
    return f"{keyword} = {values}"


def _dicom_bits(case: Case, random: Random) -> str:
    """All that says how a sample is stored, in a consistent way or nearly so."""
    dataset = dcmread(io.BytesIO(case.content), force=True)
    allocated = random.choice((1, 8, 12, 16, 24, 32, 64))
    stored = random.choice((allocated, allocated, max(1, allocated - 4), 1))
    high = random.choice((stored - 1, allocated - 1))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, high
    dataset.PixelRepresentation = random.randrange(2)
    case.content = _written(dataset)
    return f"{stored} of {allocated}, high bit {high}"


def _dicom_text(case: Case, random: Random) -> str:
    dataset = dcmread(io.BytesIO(case.content), force=True)
    keyword = random.choice(_TEXTS)
    count = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}.get(keyword, 1)
    numbers = [
        random.choice((*_REALS, str(random.choice(_LARGE)))) for _ in range(count + random.choice((0, 0, 0, 1, -1)))
    ]
    value = "\\".join(numbers).encode()
    _put(_place(dataset, random), keyword, value + b" " * (len(value) % 2), dataset.original_encoding)
    case.content = _written(dataset)
    return f"{keyword} = {value!r}"


def _dicom_word(case: Case, random: Random) -> str:
    dataset = dcmread(io.BytesIO(case.content), force=True)
    keyword = random.choice(list(_WORDS))
    value = random.choice(_WORDS[keyword]).encode()
    _put(_place(dataset, random), keyword, value + b" " * (len(value) % 2), dataset.original_encoding)
    case.content = _written(dataset)
    return f"{keyword} = {value[:20]!r}"


def _dicom_syntax(case: Case, random: Random) -> str:
    """Another transfer syntax than the data set's, in place of the same number of bytes or of others."""
    syntax = random.choice([*AllTransferSyntaxes, UID("1.2.3"), UID("")])
    at = case.content.index(b"\x02\x00\x10\x00UI")
    length = struct.unpack_from("<H", case.content, at + 6)[0]
    value = syntax.encode().ljust(random.choice((length, len(syntax) + len(syntax) % 2)), b"\0")
    head = case.content[: at + 6] + struct.pack("<H", len(value)) + value
    case.content = head + case.content[at + 8 + length :]
    return syntax.name or "none"


def _dicom_remove(case: Case, random: Random) -> str:
    dataset = dcmread(io.BytesIO(case.content), force=True)
    target = _place(dataset, random)
    tag = random.choice(list(target.keys()))
    del target[tag]
    case.content = _written(dataset)
    return str(tag)


def _dicom_type(case: Case, random: Random) -> str:
    """Another value representation than the tag has."""
    dataset = dcmread(io.BytesIO(case.content), force=True)
    keyword = random.choice((*_INTEGERS, *_TEXTS, *_WORDS, *_SEQUENCES))
    vr = random.choice(("US", "DS", "IS", "LO", "UN", "FD", "SQ", "OW", "AT", "PN", "UI"))
    _put(
        dataset, keyword, random.choice((b"", b"12", b"\0" * 8, b"1\\2\\3\\4", random.randbytes(24))), (False, True), vr
    )
    case.content = _written(dataset)
    return f"{keyword} as {vr}"


def _dicom_length(case: Case, random: Random) -> str:
    """A length field of an element or an item is overwritten."""
    content = case.content
    if random.random() < 0.5 and content.count(_ITEM):
        at = random.choice([m.start() for m in re.finditer(re.escape(_ITEM), content)]) + 4
    else:
        elements = [m.start() for m in re.finditer(rb"[\x08\x20\x28\x18]\0..[A-Z]{2}", content[:65536], re.DOTALL)]
        at = random.choice(elements or [132]) + random.choice((4, 6, 8))
    value = struct.pack(
        "<I", random.choice((0, 1, 2, 7, 255, 65535, 65536, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF))
    )
    case.content = content[:at] + value + content[at + 4 :]
    return f"{value.hex()} at {at}"


def _dicom_frames(case: Case, random: Random) -> str:
    """Many frames or many functional groups."""
    dataset = dcmread(io.BytesIO(case.content), force=True)
    count = random.choice((2, 3, 100, 5000, 131072, 131073, 10**9))
    _put(dataset, "NumberOfFrames", f"{count} "[: len(str(count)) + len(str(count)) % 2].encode(), (False, True))
    if random.random() < 0.3:
        group = Dataset()
        position = Dataset()
        position.ImagePositionPatient = [0, 0, 1]
        group.PlanePositionSequence = [position]
        dataset.PerFrameFunctionalGroupsSequence = [group] * random.choice((1, 3, 200))
    if random.random() < 0.3:
        dataset.Rows = dataset.Columns = 1
    case.content = _written(dataset)
    return str(count)


def _dicom_nested(case: Case, random: Random) -> str:
    dataset = dcmread(io.BytesIO(case.content), force=True)
    implicit, little = dataset.original_encoding
    keyword, depth = random.choice(_SEQUENCES), random.choice((2, 20, 200, 900, 3000, 20000))
    tag = struct.pack("<HH" if little else ">HH", 0x5200, 0x9229)
    start = (
        (_ITEM if little else b"\xff\xfe\xe0\x00") + _UNDEFINED + tag + (b"" if implicit else b"SQ\0\0") + _UNDEFINED
    )
    _put(dataset, keyword, start * depth, dataset.original_encoding, "SQ")
    case.content = _written(dataset)
    return f"{keyword} {depth} deep"


def _dicom_picture(case: Case, random: Random) -> str:
    """The size that a compressed picture itself gives, at times with a header that agrees."""
    content = case.content
    rows, columns = (random.choice((0, 1, 15, 16, 17, 255, 4096, 20000, 65535)) for _ in range(2))
    if random.random() < 0.5 and (sizes := [m.start() for m in re.finditer(b"\xff\x4f\xff\x51", content)]):
        at = random.choice(sizes) + 8
        content = content[:at] + struct.pack(">4I", columns, rows, 0, 0) + content[at + 16 :]
    else:
        at = random.choice([m.start() for m in re.finditer(b"\xff[\xc0-\xc3\xf7]\0", content)]) + 5
        content = content[:at] + struct.pack(">2H", rows, columns) + content[at + 4 :]
    case.content = content
    if agree := random.random() < 0.7:
        dataset = dcmread(io.BytesIO(content), force=True)
        dataset.Rows, dataset.Columns = rows, columns
        case.content = _written(dataset)
    return f"{rows} x {columns}{', and so in the header' if agree else ''}"


def _dicom_rle(case: Case, random: Random) -> str:
    """The pixels become run lengths, with a table of segments that may be wrong."""
    dataset = dcmread(io.BytesIO(case.content), force=True)
    segments = random.choice((0, 1, 2, 3, 15, 16, 0xFFFFFFFF))
    offsets = [random.choice((64, 64, 66, 1 << 20, 0xFFFFFFF0, 0)) for _ in range(15)]
    fragment = struct.pack("<16I", segments, *offsets) + b"\x81\x07" * random.choice((1, 10, 40000))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    dataset.PixelData = pydicom.encaps.encapsulate([fragment])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    if random.random() < 0.5:
        dataset.Rows = dataset.Columns = random.choice((1, 1000, 16000, 65535))
    stream = io.BytesIO()
    dcmwrite(stream, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    case.content = stream.getvalue()
    return f"{segments} segments, {len(fragment)} bytes"


def _dicom_bomb(case: Case, random: Random) -> str:
    """A deflated data set of zeros behind the meta information."""
    if random.random() < 0.7:
        return _dicom_number(case, random)
    dataset = dcmread(io.BytesIO(case.content), force=True)
    mebibytes = random.choice((1, 32, 600, 3000))
    meta = Dataset()
    meta.file_meta = dataset.file_meta
    meta.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    stream = io.BytesIO()
    dcmwrite(stream, meta, enforce_file_format=True)
    length = struct.unpack_from("<I", stream.getvalue(), 140)[0]
    case.content = stream.getvalue()[: 144 + length] + _zeros(mebibytes)
    case.bomb = True
    return f"{mebibytes} MiB of zeros"


def _dicom_table(case: Case, random: Random) -> str:
    """A palette, a modality table or a VOI table of odd size."""
    dataset = dcmread(io.BytesIO(case.content), force=True)
    order = dataset.original_encoding
    entries, first, bits = random.choice(_NUMBERS), random.choice(_NUMBERS), random.choice((0, 8, 12, 16, 17, 65535))
    descriptor = struct.pack("<3H" if order[1] else ">3H", entries, first, bits)
    data = bytes(random.choice((0, 1, 2, 256, 512, 131072)))
    if random.random() < 0.5:
        dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "PALETTE COLOR", 1
        segmented = random.choice(("", "Segmented"))
        run = b"\1\0" + b"\xff\xff" + b"\0\1" if segmented and random.random() < 0.5 else data
        for color in ("Red", "Green", "Blue"):
            _put(dataset, f"{color}PaletteColorLookupTableDescriptor", descriptor, order, "US")
            _put(dataset, f"{segmented}{color}PaletteColorLookupTableData", run, order, "OW")
    else:
        item = Dataset()
        _put(item, "LUTDescriptor", descriptor, order, random.choice(("US", "SS")))
        _put(item, "LUTData", data, order, "OW")
        setattr(dataset, random.choice(("ModalityLUTSequence", "VOILUTSequence")), [item])
        dataset.pop("WindowCenter", None)
    case.content = _written(dataset)
    return f"{entries} from {first} of {bits} bits, {len(data)} bytes"


# NIfTI: (offset, struct type) of the header's fields, NIfTI-1 then NIfTI-2.

_NIFTI1 = {
    "size": (0, "i"), "dim": (40, "h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "f"),
    "vox_offset": (108, "f"), "slope": (112, "f"), "inter": (116, "f"), "units": (123, "b"), "cal_max": (124, "f"),
    "cal_min": (128, "f"), "qform_code": (252, "h"), "sform_code": (254, "h"), "quatern": (256, "f"),
    "srow": (280, "f"), "magic": (344, "i"), "extension": (348, "i"), "extension size": (352, "i"),
}  # fmt: skip
_NIFTI2 = {
    "size": (0, "i"), "dim": (16, "q"), "datatype": (12, "h"), "bitpix": (14, "h"), "pixdim": (104, "d"),
    "vox_offset": (168, "q"), "slope": (176, "d"), "inter": (184, "d"), "cal_max": (192, "d"), "cal_min": (200, "d"),
    "qform_code": (344, "i"), "sform_code": (348, "i"), "quatern": (352, "d"), "srow": (400, "d"), "units": (500, "i"),
    "magic": (4, "i"), "extension": (540, "i"), "extension size": (544, "i"),
}  # fmt: skip
_REPEATED = {"dim": 8, "pixdim": 8, "quatern": 6, "srow": 12}
_FLOATS = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e30, -1e30, 1e-38, 3e38, 352.5, 1e10)


def _nifti_field(case: Case, random: Random) -> str:
    zipped = case.content[:2] == b"\x1f\x8b"
    content = bytearray(gzip.decompress(case.content) if zipped else case.content)
    order = "<" if content[0] in (0x5C, 0x1C) else ">"
    fields = _NIFTI1 if 0x5C in content[:4] else _NIFTI2
    name = random.choice(("dim", "dim", "datatype", *fields))
    at, kind = fields[name]
    size = struct.calcsize(kind)
    at += size * random.randrange(_REPEATED.get(name, 1))
    if kind in "fd":
        value: float = random.choice(_FLOATS)
    elif name == "datatype":
        value = random.choice((0, 1, 2, 4, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304))
    elif name == "magic":
        value = random.choice((0x0031696E, 0x00316E69, 0x0032696E, 0, 0x31))
    elif name == "dim" and random.random() < 0.3:
        value = random.choice(((1 << 62), (1 << 32) + 1)) if kind == "q" else 32767
    else:
        bits = 8 * size
        value = (random.choice(_LARGE) + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))
    struct.pack_into(order + kind, content, at, value)
    case.content = _zipped(bytes(content)) if zipped else bytes(content)
    return f"{name} at {at} = {value}"


def _nifti_large(case: Case, random: Random) -> str:
    """A grid of up to some GiB, of zeros that take no room."""
    zipped = case.content[:2] == b"\x1f\x8b"
    content = bytearray(gzip.decompress(case.content) if zipped else case.content)
    shape = random.choice(((4096, 4096, 64), (1000, 1000, 1000), (16000, 16000, 1), (30000, 30000, 5), (1, 1, 30000)))
    order = "<" if content[0] in (0x5C, 0x1C) else ">"
    at, kind = (_NIFTI1 if 0x5C in content[:4] else _NIFTI2)["dim"]
    struct.pack_into(f"{order}4{kind}", content, at, 3, *shape)
    tail = b""
    if zipped and random.random() < 0.2:
        deflated = _zeros(random.choice((8, 300)))
        case.bomb = True
        tail = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflated + bytes(8)
    case.content = (_zipped(bytes(content)) if zipped else bytes(content)) + tail
    return f"{shape}, {len(tail)} bytes of deflated zeros"


def _nifti_zip(case: Case, random: Random) -> str:
    """Damage inside of the compressed stream's contents."""
    if case.content[:2] != b"\x1f\x8b":
        return _flip(case, random)
    case.content = gzip.decompress(case.content)
    done = random.choice(_BYTES)(case, random)
    case.content = _zipped(case.content)
    return done


# NRRD and MetaImage


def _header_field(case: Case, random: Random) -> str:
    """One value of the text header."""
    separator = b":" if case.format == "nrrd" else b" ="
    head, middle, tail = _split_header(case)
    lines = head.split(b"\n")
    at = random.choice([i for i, line in enumerate(lines) if separator in line])
    key = lines[at].split(separator)[0]
    name = key.decode().lower().replace(" ", "")
    if "file" in name:
        value = random.choice((*_PATHS, "LOCAL", case.name))
    elif "type" in name:
        value = random.choice((
            "uchar", "int64", "double", "block", "unsigned long long", "MET_DOUBLE", "MET_LONG_LONG", "MET_OTHER",
            "MET_UCHAR_ARRAY", "MET_STRING", "Tube", "MET_NONE", "",
        ))  # fmt: skip
    elif "encoding" in name:
        value = random.choice(("raw", "gzip", "gz", "bzip2", "hex", "ascii", "text", "", "zzz"))
    else:
        count = random.choice((1, 2, 3, 3, 3, 4, 9, 9, 20))
        numbers = [str(random.choice((*_LARGE, *_REALS, 1, 2, 3, 4, 5, 1, 2, 3))) for _ in range(count)]
        value = random.choice((" ".join(numbers), f"({','.join(numbers)}) none", "True", "False", "x" * 5000))
    lines[at] = key + separator + b" " + value.encode()
    case.content = b"\n".join(lines) + middle + tail
    return f"{name} = {value[:60]}"


def _header_line(case: Case, random: Random) -> str:
    """A line of the text header removed, doubled, moved or added."""
    head, middle, tail = _split_header(case)
    lines = head.split(b"\n")
    at = random.randrange(len(lines))
    added = random.choice((
        b"encoding: raw", b"line skip: -1", b"byte skip: -1", b"byte skip: 99999999999", b"line skip: 999999999",
        b"data file: ../../etc/passwd", b"kinds: RGB-color domain domain",
        b"measurement frame: (nan,0,0) (0,1,0) (0,0,1)",
        b"spacings: nan 0 -1", b"centers: cell", b"content: \xff\xfe", b"HeaderSize = -1", b"HeaderSize = 4000000000",
        b"ElementNumberOfChannels = 3", b"ElementNumberOfChannels = 1000000000", b"NDims = 200", b"NDims = 0",
        b"ElementDataFile = ../../etc/passwd", b"CompressedDataSize = 99999999999", b"CompressedData = True",
        b"DimSize = 2000 2000 1000", b"sizes: 2000 2000 1000", b"dimension: 16", b"dimension: 0",
        b"ElementDataFile = LIST 2", b"data file: LIST", b"# " + b"x" * 70000,
    ))  # fmt: skip
    kind = random.choice(("remove", "double", "add", "add", "add"))
    if kind == "remove":
        del lines[at]
    else:
        lines.insert(max(at, 1), lines[at] if kind == "double" else added)
    case.content = b"\n".join(lines) + middle + tail
    return f"{kind} {added[:40]!r}" if kind == "add" else f"{kind} line {at}"


def _itk_large(case: Case, random: Random) -> str:
    """A large grid, with deflated zeros behind it that may be more or less than it needs."""
    head, middle, _ = _split_header(case)
    size = random.choice(("300 300 300", "2000 2000 900", "2000 2000 2000", "16000 16000 1", "40000 40000 2"))
    head = re.sub(rb"(?m)^(sizes:|DimSize =).*$", rb"\1 " + size.encode(), head)
    head = re.sub(rb"(?m)^encoding:.*$", b"encoding: gzip", head).replace(
        b"CompressedData = False", b"CompressedData = True"
    )
    deflated = _zeros(random.choice((1, 1, 32, 300)))
    if case.format == "nrrd":
        data = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflated + bytes(8)
    else:
        data = b"\x78\xda" + deflated + bytes(4)
        head = re.sub(rb"CompressedDataSize = \d+", b"CompressedDataSize = %d" % len(data), head)
    if len(case.files) > 1:
        case.files["voxels.raw"] = data
        case.content = head + middle
    else:
        case.content = head + middle + data
    return f"{size}, {len(data)} bytes of deflated data"


def _data_file(case: Case, random: Random) -> str:
    """The detached data file is damaged, cut or gone."""
    if "voxels.raw" not in case.files:
        return _flip(case, random)
    data = case.files["voxels.raw"]
    data = random.choice((b"", data[: len(data) // 2], data * 3, bytes(len(data)), random.randbytes(len(data))))
    case.files["voxels.raw"] = data
    return f"{len(data)} bytes"


def _split_header(case: Case) -> tuple[bytes, bytes, bytes]:
    if case.format == "nrrd":
        return case.content.partition(b"\n\n")
    head, middle, tail = case.content.partition(b"LOCAL\n")
    return head, middle, tail


# Pictures


def _picture_header(case: Case, random: Random) -> str:
    content = case.content
    if content.startswith(b"\x89PNG"):
        return _png(case, random)
    if content.startswith(b"BM"):
        at, kind = random.choice((
            (2, "I"), (10, "I"), (14, "I"), (18, "i"), (22, "i"), (26, "H"), (28, "H"), (30, "I"), (34, "I"), (46, "I"),
        ))  # fmt: skip
        value = random.choice(
            (0, 1, 2, 4, 8, 16, 24, 32, 3, 31, 40, 108, 124, 12, 65535, 1 << 20, (1 << 31) - 1, 30000)
        )
        case.content = (
            content[:at]
            + struct.pack(f"<{kind}", value % (1 << 8 * struct.calcsize(kind)))
            + content[at + struct.calcsize(kind) :]
        )
        return f"{value} at {at}"
    markers = [m.start() for m in re.finditer(rb"\xff[\xc0-\xc4\xda-\xdd\xe0-\xef]", content)]
    at = random.choice(markers)
    if content[at + 1] in range(0xC0, 0xC4):
        size = [random.choice((0, 1, 8, 4096, 13000, 40000, 65535)) for _ in range(2)]
        case.content = content[: at + 5] + struct.pack(">2H", *size) + content[at + 9 :]
        return f"size {size}"
    value = random.choice((0, 1, 2, 3, 255, 65535))
    case.content = content[: at + 2] + struct.pack(">H", value) + content[at + 4 :]
    return f"length of {content[at : at + 2].hex()} = {value}"


def _png(case: Case, random: Random) -> str:
    """One chunk of a PNG is altered, with a right checksum mostly."""
    content, at, chunks = case.content, 8, []
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        chunks.append((kind, content[at + 8 : at + 8 + length]))
        at += 12 + length
    bomb = b"\x78\xda" + _zeros(random.choice((1, 64, 256))) + bytes(4)
    pick = random.randrange(6)
    place = random.randrange(1, len(chunks))
    if pick <= 1:
        size = [random.choice((0, 1, 23, 31, 4096, 9000, 13000, 40000, 0x7FFFFFFF)) for _ in range(2)]
        depth, color = random.choice(
            ((8, 0), (8, 2), (8, 3), (16, 2), (16, 0), (1, 0), (1, 3), (8, 6), (16, 6), (32, 0), (8, 7))
        )
        chunks[0] = (b"IHDR", struct.pack(">2I5B", *size, depth, color, 0, 0, random.choice((0, 0, 1, 7))))
        done = f"{size} of {depth} bits and kind {color}"
        if random.random() < 0.3:
            chunks = [(k, bomb if k == b"IDAT" else v) for k, v in chunks]
            done += f", {len(bomb)} bytes of deflated zeros"
    elif pick == 2:
        kind = random.choice((b"zTXt", b"iTXt", b"iCCP"))
        start = b"key\0\1\0en\0key\0" if kind == b"iTXt" else b"key\0\0"
        chunks.insert(place, (kind, start + bomb))
        done = f"{kind.decode()} of {len(bomb)} deflated bytes"
    elif pick == 3:
        kind = random.choice(
            (b"PLTE", b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"gAMA", b"cHRM", b"pHYs", b"IHDR", b"sRGB")
        )
        data = random.randbytes(random.choice((0, 1, 3, 8, 26, 256, 768, 769, 3000)))
        chunks.insert(place, (kind, data))
        done = f"{kind.decode()} of {len(data)} bytes"
    elif pick == 4:
        at = random.randrange(len(chunks))
        done = f"without {chunks.pop(at)[0]!r}"
    else:
        chunks.append(random.choice(chunks))
        done = f"{chunks[-1][0]!r} again"
    made = [struct.pack(">I", len(v)) + k + v + struct.pack(">I", zlib.crc32(k + v)) for k, v in chunks]
    if random.random() < 0.1:
        made[-1] = random.choice((b"\xff\xff\xff\xff", b"\x80\0\0\0")) + made[-1][4:]
        done += ", wrong length"
    case.content = content[:8] + b"".join(made)
    return done


# TIFF


def _tiff_entry(case: Case, random: Random) -> str:
    """The type, count or value of a tag, or the link to the next directory."""
    content = bytearray(case.content)
    order = "<" if content[:2] == b"II" else ">"
    if struct.unpack_from(f"{order}H", content, 2)[0] != 42:
        return _word(case, random)
    directory = struct.unpack_from(f"{order}I", content, 4)[0]
    count = struct.unpack_from(f"{order}H", content, directory)[0]
    if random.random() < 0.15:
        target = random.choice((directory, 8, 0xFFFFFFFE, len(content) - 2, 4))
        at = random.choice((4, directory + 2 + 12 * count))
        struct.pack_into(f"{order}I", content, at, target)
        case.content = bytes(content)
        return f"directory link at {at} to {target}"
    at = directory + 2 + 12 * random.randrange(count)
    tag = struct.unpack_from(f"{order}H", content, at)[0]
    pick = random.randrange(6)
    if pick == 0:
        value = random.randrange(20)
        struct.pack_into(f"{order}H", content, at + 2, value)
    elif pick == 1:
        value = random.choice((0, 1, 2, 1000, 1 << 20, 1 << 28, (1 << 31) - 1, (1 << 32) - 1))
        struct.pack_into(f"{order}I", content, at + 4, value)
    elif pick == 2:
        value = random.choice((254, 259, 262, 274, 277, 284, 317, 322, 330, 338, 339, 347, 32997, 34665, 50706, 65000))
        struct.pack_into(f"{order}H", content, at, value)
    else:
        values = {
            259: (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34712, 34925, 50000, 50001, 34887, 0), 262: range(11),
            277: (0, 1, 2, 3, 4, 5, 65535), 258: (0, 1, 2, 4, 7, 8, 12, 16, 24, 32, 64, 65535), 274: range(11),
            339: range(7), 317: (1, 2, 3, 34892), 284: (0, 1, 2, 3),
        }.get(tag, (0, 1, 16, 255, 4096, 20000, 65535, (1 << 31) - 1, (1 << 32) - 1, len(content)))  # fmt: skip
        value = random.choice(values)
        short = struct.unpack_from(f"{order}H", content, at + 2)[0] == 3
        struct.pack_into(f"{order}{'H' if short else 'I'}", content, at + 8, value % (65536 if short else 1 << 32))
    case.content = bytes(content)
    return f"{('type', 'count', 'tag', 'value', 'value', 'value')[pick]} of {tag} = {value}"


_MUTATORS: dict[str, list[Callable[[Case, Random], str]]] = {
    "dicom": [
        _dicom_number, _dicom_number, _dicom_number, _dicom_bits, _dicom_text, _dicom_text, _dicom_text, _dicom_word,
        _dicom_syntax, _dicom_remove, _dicom_type, _dicom_length, _dicom_frames, _dicom_nested, _dicom_picture,
        _dicom_rle, _dicom_bomb, _dicom_table,
    ],
    "nifti": [_nifti_field, _nifti_field, _nifti_field, _nifti_large, _nifti_zip],
    "nrrd": [_header_field, _header_field, _header_line, _itk_large, _data_file],
    "metaimage": [_header_field, _header_field, _header_line, _itk_large, _data_file],
    "picture": [_picture_header],
    "tiff": [_tiff_entry],
}  # fmt: skip
