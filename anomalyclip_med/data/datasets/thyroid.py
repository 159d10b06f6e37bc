"""Thyroid ultrasound: TN3K, and DDTI as it is re-packed for segmentation."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from anomalyclip_med.data.datasets.dataset import PAPER, DataSet, Expected
from anomalyclip_med.data.datasets.layouts import FolderPair, ObjectFolders, PairedFolders
from anomalyclip_med.data.datasets.samples import Listing, note, warning
from anomalyclip_med.data.datasets.tree import Tree
from anomalyclip_med.data.masks import MaskRule

_PAIRS = PairedFolders(
    "",
    "thyroid",
    pairs=(
        FolderPair("testimages?", "testmasks?", "test"),
        FolderPair("trainvalimages?", "trainvalmasks?", "training"),
    ),
)


@dataclass(frozen=True)
class Tn3kFolders:
    """TN3K's folders of images and masks; its first fold tells training from validation."""

    text: str = (
        "Thyroid Dataset/tn3k/{test,trainval}-image/0000.jpg with {test,trainval}-mask/0000.jpg; "
        "tn3k-trainval-fold0.json"
    )

    def find(self, tree: Tree) -> Listing | None:
        """List the sections."""
        listing = _PAIRS.find(tree)
        if listing is None:
            return None
        for folder in tree.pictures:
            if any(part in ("tg3k", "ddti", "ddtidataset") for part in tree.parts(folder)[1:]):
                listing.reasons[folder] = "another data set of the same archive"
        fold = tree.table(r"tn3k-trainval-fold0\.json")
        if fold is not None and any(s.section == "training" for s in listing.samples):
            listing.used |= {t for t in tree.tables if t.name.casefold().startswith("tn3k-trainval-fold")}
            self._split(fold, listing)
        return listing

    @staticmethod
    def _split(fold: Path, listing: Listing) -> None:
        try:
            numbers = {int(number) for number in json.loads(fold.read_text(encoding="utf-8"))["val"]}
        except (ValueError, KeyError, TypeError):
            detail = f'{fold.name} is not {{"train": [0, ...], "val": [...]}}: there is no validation section'
            listing.problems.append(warning("split-missing", detail))
            return
        for place, sample in enumerate(listing.samples):
            stem = sample.image.stem
            if sample.section == "training" and stem.isdecimal() and int(stem) in numbers:
                listing.samples[place] = replace(sample, section="validation")
        listing.problems.append(note("split", f"{fold.name} tells training from validation; there are other folds"))


TN3K = DataSet(
    name="tn3k",
    title="TN3K",
    what="Ultrasound of the thyroid, each image with a nodule",
    objects=("thyroid",),
    licence="of the code MIT; of the images not stated",
    url="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
    reference="Gong et al., Thyroid region prior guided attention for ultrasound segmentation of thyroid nodules, "
    "Computers in Biology and Medicine 2022",
    layouts=(
        Tn3kFolders(),
        ObjectFolders("MVTec AD's layout, as re-packed for anomaly detection", object="thyroid"),
    ),
    mask_rule=MaskRule.ABOVE_127,
    expected=(
        Expected({"training": (0, 2879), "test": (0, 614)}, "Gong et al. 2022: 3493 images; " + PAPER + ": 614"),
        Expected({"training": (0, 2303), "validation": (0, 576), "test": (0, 614)}, "fold 0 of its authors"),
    ),
    remarks=("masks are JPEG with greys", "which patient an image is of is not published"),
)

DDTI = DataSet(
    name="ddti",
    title="DDTI, preprocessed",
    what="Ultrasound of the thyroid, each image with a nodule; not one of the paper's data sets",
    objects=("thyroid",),
    licence="not stated for the re-pack; DDTI itself is open for research",
    url="http://cimalab.unal.edu.co/?lang=es&mod=program&id=5 (original); re-packs on Kaggle",
    reference="Pedraza et al., An open access thyroid ultrasound image database, SIPAIM 2015",
    layouts=(
        PairedFolders(
            "image/10170.PNG with mask/10170.PNG of the same name",
            "thyroid",
            pairs=(FolderPair("images?", "masks?"),),
            hint="ddti",
            unlike="^t[ng]3k",
        ),
    ),
    mask_rule=MaskRule.ABOVE_127,
    expected=(Expected({"test": (0, 637)}, "the re-pack, as commonly counted"),),
    remarks=("TN3K's archive holds it, too",),
)

DATA_SETS = (TN3K, DDTI)
