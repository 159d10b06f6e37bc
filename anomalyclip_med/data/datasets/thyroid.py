"""Thyroid ultrasound: TN3K, and DDTI as it is re-packed for segmentation."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from anomalyclip_med.data.datasets.dataset import PAPER, DataSet, Expected
from anomalyclip_med.data.datasets.layouts import FolderPair, ObjectFolders, PairedFolders
from anomalyclip_med.data.datasets.samples import Listing, Problem, Sample, note, warning
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


_FOLD = r"tn3k-trainval-fold\d+\.json"


@dataclass(frozen=True)
class Tn3kFolders:
    """TN3K's folders of images and masks; its first fold tells training from validation.

    Where there is no file of a fold, a fifth of the training images, drawn with a fixed seed, is for validation.
    """

    text: str = (
        "Thyroid Dataset/tn3k/{test,trainval}-image/0000.jpg with {test,trainval}-mask/0000.jpg; "
        "tn3k-trainval-fold0.json, else a fifth of trainval is drawn for validation"
    )

    def find(self, tree: Tree) -> Listing | None:
        """List the sections."""
        listing = _PAIRS.find(tree)
        if listing is None:
            return None
        for folder in tree.pictures:
            if any(part in ("tg3k", "ddti", "ddtidataset") for part in tree.parts(folder)[1:]):
                listing.reasons[folder] = "another data set of the same archive"
        training = [s for s in listing.samples if s.section == "training"]
        if training:
            chosen, told = self._validation(tree.table(_FOLD), training)
            listing.problems += told
            listing.samples = [replace(s, section="validation") if s in chosen else s for s in listing.samples]
        return listing

    @staticmethod
    def _validation(fold: Path | None, training: list[Sample]) -> tuple[set[Sample], list[Problem]]:
        """Which samples are for validation, and what is to be told of that."""
        told = []
        if fold is not None:
            try:
                content = json.loads(fold.read_text(encoding="utf-8"))
                train, val = ({int(number) for number in content[part]} for part in ("train", "val"))
                if train & val:
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                detail = f'{fold.name} is not {{"train": [0, ...], "val": [...]}} without a common number'
                told.append(warning("split-unreadable", detail))
            else:
                numbers = {s: int(s.image.stem) for s in training if s.image.stem.isdecimal()}
                if set(numbers.values()) != train | val or len(numbers) < len(training):
                    detail = f"{fold.name} lists other numbers than there are images; those it does not are trained on"
                    told.append(warning("split-differs", detail))
                told.append(note("split", f"{fold.name} tells training from validation; there are other folds"))
                return {s for s, number in numbers.items() if number in val}, told
        from monai.data import partition_dataset  # here, as it takes seconds and the registry is always read

        # By name, so that it does not matter where the images lie.
        in_order = sorted(training, key=lambda s: s.image.name)
        _, chosen = partition_dataset(in_order, ratios=(4, 1), shuffle=True, seed=0)
        told.append(note("split", "a fifth of the training images, drawn with a fixed seed, is for validation"))
        return set(chosen), told


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
        Expected({"test": (0, 614)}, PAPER),
        Expected(
            {"training": (0, 2303), "validation": (0, 576), "test": (0, 614)},
            "Gong et al. 2022: 3493 images; a fifth of trainval for validation",
        ),
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
