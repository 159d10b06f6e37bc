"""Colonoscopy: CVC-ClinicDB, CVC-ColonDB, Kvasir-SEG and EndoTect; every image shows a polyp."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

from anomalyclip_med.data.datasets.dataset import PAPER, DataSet, Expected
from anomalyclip_med.data.datasets.layouts import ObjectFolders, OneFolder, PairedFolders
from anomalyclip_med.data.datasets.pairing import MASK_NAME
from anomalyclip_med.data.datasets.tables import read_rows
from anomalyclip_med.data.datasets.tree import Tree
from anomalyclip_med.data.masks import MaskRule

_SEQUENCES = (
    *(1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298),
    *(318, 343, 364, 384, 409, 429, 448, 467, 479, 504, 529, 547, 572, 592),
)
"""First frame of each of CVC-ClinicDB's 29 sequences; the last one ends with frame 612."""

_FRAMES = 612
_COLON_MASK = MASK_NAME + r"|p(?P<frame>\d+)"
_FIGSHARE = "https://figshare.com/articles/figure/Polyp_DataSet_zip/21221579"


_NAMES = {
    "clinicdb": "clinicdb|cvc612",
    "colondb": "colondb",
    "kvasir": "kvasir",
    "endo": "endotect",
    "etis": "etis",
    "cvc300": "cvc300|endoscene",
}
"""What the folders of polyp sets are called: they have one layout and often lie side by side."""


def _others(name: str) -> str:
    return "|".join(pattern for other, pattern in _NAMES.items() if other != name)


def clinicdb_sequences(tree: Tree, images: Iterable[Path]) -> dict[Path, str]:
    """The sequence of each frame: as ``metadata.csv`` of the Kaggle re-pack has it, else by the frame's number."""
    table = tree.table(r"metadata\.csv")
    told: dict[str, str] = {}
    if table is not None:
        for row in read_rows(table, ("sequence_id",)):
            frame = row.get("png_image_path") or row.get("tif_image_path") or row.get("frame_id") or ""
            told[PureWindowsPath(frame).stem] = row["sequence_id"]
    groups = {}
    for image in images:
        number = int(image.stem) if image.stem.isdecimal() else 0
        sequence = told.get(image.stem) or (str(bisect(_SEQUENCES, number)) if 1 <= number <= _FRAMES else "")
        groups[image] = f"sequence {sequence}" if sequence else ""
    return groups


CLINICDB = DataSet(
    name="clinicdb",
    title="CVC-ClinicDB",
    aliases=("cvcclinicdb", "cvc612"),
    what="Frames of colonoscopy videos, each with a polyp",
    objects=("colon",),
    licence="for research and education; ask its authors for other use",
    url="https://polyp.grand-challenge.org/CVCClinicDB/ or " + _FIGSHARE,
    reference="Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy, "
    "Computerized Medical Imaging and Graphics 2015",
    layouts=(
        PairedFolders(
            "PNG/Original/1.png with PNG/Ground Truth/1.png; the same in TIF or without PNG/; images/ with masks/",
            "colon",
            hint=_NAMES["clinicdb"],
            unlike=_others("clinicdb"),
            grouping=clinicdb_sequences,
        ),
        ObjectFolders("MVTec AD's layout, as re-packed for anomaly detection", object="colon"),
    ),
    mask_rule=MaskRule.ABOVE_127,
    expected=(
        Expected({"test": (0, 612)}, "Bernal et al. 2015: 612 frames of 29 sequences"),
        Expected({"training": (0, 550), "test": (0, 62)}, "PraNet's shares"),
    ),
    remarks=(
        "masks are RGB and not all binary; the TIF originals have a compression that few programs open",
        "where both formats are there, the PNG files are taken",
    ),
)

COLONDB = DataSet(
    name="colondb",
    title="CVC-ColonDB",
    aliases=("cvccolondb",),
    what="Frames of colonoscopy videos, each with a polyp",
    objects=("colon",),
    licence="for research; ask its authors for other use",
    url="http://vi.cvc.uab.es/colon-qa/cvccolondb/ or " + _FIGSHARE,
    reference="Tajbakhsh et al., Automated Polyp Detection in Colonoscopy Videos Using Shape and Context Information, "
    "IEEE TMI 2016; Bernal et al., Towards automatic polyp detection with a polyp appearance model, 2012",
    layouts=(
        PairedFolders(
            "images/1.png with masks/1.png, or 10.tiff with p10.tiff",
            "colon",
            hint=_NAMES["colondb"],
            unlike=_others("colondb"),
            mask_name=_COLON_MASK,
            ignore=r"[cp]\d+",
        ),
        OneFolder("10.tiff, p10.tiff (mask) and c10.tiff (contour) in one folder", "colon", r"p(?P<base>\d+)", r"c\d+"),
        ObjectFolders("MVTec AD's layout, as re-packed for anomaly detection", object="colon"),
    ),
    mask_rule=MaskRule.HALF,
    expected=(
        Expected({"test": (0, 380)}, PAPER + "; PraNet's test sets"),
        Expected({"test": (0, 300)}, "Bernal et al. 2012, the first release"),
    ),
    remarks=("there are releases of 300 and of 380 frames under one name; the paper uses 380",),
)

KVASIR = DataSet(
    name="kvasir",
    title="Kvasir-SEG",
    aliases=("kvasirseg",),
    what="Endoscopic pictures, each with a polyp",
    objects=("colon",),
    licence="for research and education, with citation",
    url="https://datasets.simula.no/kvasir-seg/",
    reference="Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MMM 2020",
    layouts=(
        PairedFolders(
            "images/cju*.jpg with masks/cju*.jpg of the same name",
            "colon",
            hint=_NAMES["kvasir"],
            unlike=_others("kvasir"),
        ),
        ObjectFolders("MVTec AD's layout, as re-packed for anomaly detection", object="colon"),
    ),
    mask_rule=MaskRule.ABOVE_127,
    expected=(
        Expected({"test": (0, 1000)}, "Jha et al. 2020"),
        Expected({"training": (0, 900), "test": (0, 100)}, "PraNet's shares"),
    ),
    remarks=(
        "masks are JPEG: the rule makes greys binary, where the reference takes all above 0",
        "some pictures carry a green position sketch or text at the border",
    ),
)

ENDO = DataSet(
    name="endo",
    title="EndoTect 2020, segmentation test set",
    aliases=("endotect", "endotect2020", "endotect2020segmentationtestdataset"),
    what="Endoscopic pictures, each with a polyp",
    objects=("colon",),
    licence="for research; see the challenge's terms",
    url="https://endotect.com",
    reference="Hicks et al., The EndoTect 2020 Challenge: Evaluation and Comparison of Classification, Segmentation "
    "and Inference Time for Endoscopy, ICPR workshops 2021",
    layouts=(
        PairedFolders(
            "images/*.jpg with masks/*.jpg of the same name", "colon", hint=_NAMES["endo"], unlike=_others("endo")
        ),
        ObjectFolders("MVTec AD's layout, as re-packed for anomaly detection", object="colon"),
    ),
    mask_rule=MaskRule.ABOVE_127,
    expected=(Expected({"test": (0, 200)}, PAPER),),
)

DATA_SETS = (CLINICDB, COLONDB, KVASIR, ENDO)
