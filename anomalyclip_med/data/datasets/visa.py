"""VisA: its images lie by normal and anomalous, a table tells the sections."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anomalyclip_med.data.datasets.dataset import DataSet, Expected
from anomalyclip_med.data.datasets.layouts import ObjectFolders
from anomalyclip_med.data.datasets.pairing import pair, without_mask
from anomalyclip_med.data.datasets.samples import Listing, Sample, warning
from anomalyclip_med.data.datasets.tables import read_rows
from anomalyclip_med.data.datasets.tree import Tree, key
from anomalyclip_med.data.masks import MaskRule


@dataclass(frozen=True)
class VisaFolders:
    """``OBJECT/Data/Images/{Normal,Anomaly}`` and ``OBJECT/Data/Masks/Anomaly``, with ``split_csv/1cls.csv``."""

    text: str = "OBJECT/Data/Images/{Normal,Anomaly}/*.JPG, OBJECT/Data/Masks/Anomaly/*.png, split_csv/1cls.csv"

    def find(self, tree: Tree) -> Listing | None:
        """List the objects; all images are a test set if the table is missing."""
        listing = Listing()
        splits, table = self._splits(tree)
        for place in sorted({f.parent.parent.parent for f in tree.folders("normal|anomaly")}):
            folders = {
                (key(f.parent.name), key(f.name)): f for f in tree.pictures if f.parent.parent == place / f.parts[-3]
            }
            normal, anomalous = folders.get(("images", "normal")), folders.get(("images", "anomaly"))
            if normal is None and anomalous is None:
                continue
            for image in tree.pictures.get(normal, []) if normal else []:
                listing.samples.append(Sample(image, 0, place.name, section=splits.get(_tail(image), "test")))
            masks = folders.get(("masks", "anomaly"))
            files = tree.pictures[anomalous] if anomalous else []
            pairs, problems = pair(files, tree.pictures[masks] if masks else [])
            listing.problems += problems
            missing = [image for image, own in pairs.items() if not own]
            listing.problems += without_mask(missing)
            listing.samples += [
                Sample(image, 1, place.name, own, splits.get(_tail(image), "test"), "anomaly")
                for image, own in pairs.items()
            ]
        if not listing.samples:
            return None
        if table is None:
            detail = "split_csv/1cls.csv is not there: all images are taken as a test set"
            listing.problems.append(warning("split-missing", detail))
        else:
            unlisted = [s.image for s in listing.samples if _tail(s.image) not in splits]
            if unlisted:
                detail = f"images that {table.name} does not list, taken as test images"
                listing.problems.append(warning("split-missing", detail, unlisted))
            absent = set(splits) - {_tail(s.image) for s in listing.samples}
            if absent:
                detail = f"{len(absent)} images that {table.name} lists are not there, such as {min(absent)}"
                listing.problems.append(warning("image-missing", detail))
        return listing

    @staticmethod
    def _splits(tree: Tree) -> tuple[dict[str, str], Path | None]:
        table = tree.table(r"1cls\.csv")
        if table is None:
            return {}, None
        rows = read_rows(table, ("image", "split"))
        sections = {"train": "training", "test": "test"}
        return {_tail(PurePosixPath(r["image"])): sections.get(r["split"], "test") for r in rows}, table


def _tail(path: Path | PurePosixPath) -> str:
    """What names an image whatever lies above it: "candle/data/images/normal/0836.jpg"."""
    return "/".join(path.parts[-5:]).casefold()


VISA = DataSet(
    name="visa",
    title="VisA (Visual Anomaly)",
    what="Photographs of 12 objects: circuit boards, several instances in a view, one aligned instance",
    objects=(
        "candle",
        "capsules",
        "cashew",
        "chewinggum",
        "fryum",
        "macaroni1",
        "macaroni2",
        "pcb1",
        "pcb2",
        "pcb3",
        "pcb4",
        "pipe_fryum",
    ),
    licence="CC BY 4.0",
    url="https://github.com/amazon-science/spot-diff",
    reference="Zou et al., SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and Segmentation, "
    "ECCV 2022",
    layouts=(
        VisaFolders(),
        ObjectFolders(
            "as the authors' prepare_data.py writes it: 1cls/OBJECT/{train,test}/{good,bad}, OBJECT/ground_truth/bad"
        ),
    ),
    mask_rule=MaskRule.NONZERO,
    expected=(Expected({"training": (8659, 0), "test": (962, 1200)}, "rows of the authors' split_csv/1cls.csv"),),
    remarks=("masks number the kinds of defect from 1: dark to the eye, and nothing to a threshold at 127",),
)

DATA_SETS = (VISA,)
