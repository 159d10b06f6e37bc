"""DAGM 2007: artificial textures, with a folder of labels in each section."""

from __future__ import annotations

from dataclasses import dataclass

from anomalyclip_med.data.datasets.dataset import PAPER, DataSet, Expected
from anomalyclip_med.data.datasets.layouts import ObjectFolders
from anomalyclip_med.data.datasets.pairing import pair
from anomalyclip_med.data.datasets.samples import Listing, Sample, warning
from anomalyclip_med.data.datasets.tree import Tree, key
from anomalyclip_med.data.masks import MaskRule


@dataclass(frozen=True)
class DagmFolders:
    """``Class1/Train/0576.PNG`` with ``Class1/Train/Label/0576_label.PNG``, and the same under ``Test``."""

    text: str = "Class1/{Train,Test}/0576.PNG, Class1/{Train,Test}/Label/0576_label.PNG, ..., Class10"

    def find(self, tree: Tree) -> Listing | None:
        """List the classes; an image is anomalous if it has a label."""
        listing = Listing()
        for folder in tree.folders("train|test"):
            labels = [f for f in tree.pictures if f.parent == folder and key(f.name) == "label"]
            pairs, problems = pair(tree.pictures[folder], tree.pictures[labels[0]] if labels else [])
            listing.problems += problems
            if not labels:
                detail = "no masks in Label/ beside these images: all are taken as normal"
                listing.problems.append(warning("mask-missing", detail, pairs))
            section = "training" if key(folder.name) == "train" else "test"
            for image, own in pairs.items():
                defect = "defect" if own else ""
                listing.samples.append(Sample(image, int(bool(own)), folder.parent.name, own, section, defect))
        return listing if any(s.label for s in listing.samples) else None


DAGM = DataSet(
    name="dagm",
    title="DAGM 2007",
    aliases=("dagm2007", "dagmkaggleupload"),
    what="Ten artificial textures, with and without defects",
    objects=tuple(f"Class{number}" for number in range(1, 11)),
    licence="not stated at the source",
    url="https://www.kaggle.com/datasets/mhskjelvareid/dagm-2007-competition-dataset-optical-inspection",
    reference="Wieler and Hahn, Weakly Supervised Learning for Industrial Optical Inspection, DAGM 2007",
    layouts=(DagmFolders(), ObjectFolders("MVTec AD's layout, as re-packed for anomaly detection")),
    mask_rule=MaskRule.HALF,
    expected=(Expected({"test": (6996, 1054)}, PAPER),),
    remarks=(
        "masks are ellipses around the defects, not their outlines",
        "the competition's first archives (Class1, Class1_def with a table of ellipses) have no masks and are not read",
    ),
)

DATA_SETS = (DAGM,)
