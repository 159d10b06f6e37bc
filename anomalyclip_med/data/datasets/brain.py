"""Heads and brains: HeadCT, BrainMRI and Br35H; labels, and no masks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from anomalyclip_med.data.datasets.dataset import PAPER, DataSet, Expected
from anomalyclip_med.data.datasets.layouts import ClassFolders, ObjectFolders
from anomalyclip_med.data.datasets.samples import Listing, Sample, warning
from anomalyclip_med.data.datasets.tables import read_rows
from anomalyclip_med.data.datasets.tree import Tree
from anomalyclip_med.errors import ConfigurationError

_SHARED = (
    "BrainMRI and Br35H share files, and both hold copies within: their results are not independent; "
    "'anomalyclip-med datasets shared' and 'prepare --beside' find them"
)


@dataclass(frozen=True)
class HeadCtTable:
    """``head_ct/000.png`` and a table with the columns ``id`` and ``hemorrhage``."""

    text: str = "head_ct/000.png, ..., labels.csv with the header 'id, hemorrhage' (mind the space)"

    def find(self, tree: Tree) -> Listing | None:
        """List the rows of the table."""
        table = tree.table(r"labels\.csv")
        images = self._images(tree, table) if table is not None else {}
        if table is None or not images:
            return None
        rows = read_rows(table, ("id", "hemorrhage"))
        listing = Listing()
        labels = {}
        for number, row in enumerate(rows, 2):
            if row["hemorrhage"] not in ("0", "1") or not row["id"].isdecimal():
                raise ConfigurationError(f"{table}: line {number} needs an 'id' and a 'hemorrhage' of 0 or 1")
            labels[int(row["id"])] = int(row["hemorrhage"])
        absent = sorted(set(labels) - set(images))
        if absent:
            detail = f"{len(absent)} rows of {table.name} have no image, such as {absent[0]}"
            listing.problems.append(warning("image-missing", detail))
        unlabelled = [path for number, path in sorted(images.items()) if number not in labels]
        if unlabelled:
            listing.problems.append(warning("label-missing", f"left out: not in {table.name}", unlabelled))
        listing.samples = [
            Sample(images[n], label, "brain", defect="hemorrhage" * label)
            for n, label in sorted(labels.items())
            if n in images
        ]
        return listing

    @staticmethod
    def _images(tree: Tree, table: Path) -> dict[int, Path]:
        """The numbered pictures: of the folder called head_ct that is nearest to the table, or of the only one."""

        def steps(folder: Path) -> int:
            shared = len(Path(os.path.commonpath((folder, table.parent))).parts)
            return len(folder.parts) + len(table.parent.parts) - 2 * shared

        folders = [f for f, files in tree.pictures.items() if any(path.stem.isdecimal() for path in files)]
        named = [f for f in folders if tree.parts(f)[-1] == "headct"]
        folders = [f for f in named if steps(f) == min(map(steps, named))] or folders
        if len(folders) > 1:
            names = ", ".join(sorted(f.relative_to(tree.root).as_posix() for f in folders))
            raise ConfigurationError(f"{tree.root}: several folders of numbered pictures ({names}); name the one meant")
        images: dict[int, Path] = {}
        for path in tree.pictures[folders[0]] if folders else []:
            if path.stem.isdecimal() and images.setdefault(int(path.stem), path) != path:
                raise ConfigurationError(
                    f"{path.parent}: {images[int(path.stem)].name} and {path.name} have one number; take one out"
                )
        return images


HEADCT = DataSet(
    name="headct",
    title="Head CT - hemorrhage",
    what="Slices of head CT as pictures, with and without a hemorrhage",
    objects=("brain",),
    licence="not stated by its publisher; research use",
    url="https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage",
    reference="Kitamura, Head CT - hemorrhage, Kaggle 2018; Salehi et al., Multiresolution Knowledge Distillation for "
    "Anomaly Detection, CVPR 2021",
    layouts=(
        HeadCtTable(),
        ObjectFolders("brain/test/{good,defect}/*, as AnomalyCLIP's authors pass it on", object="brain"),
    ),
    mask_rule=None,
    expected=(Expected({"test": (100, 100)}, PAPER + "; the publisher's table"),),
    remarks=("collected from the web: windows, sizes and modes differ, some files are RGBA",),
)

BRAINMRI = DataSet(
    name="brainmri",
    title="Brain MRI Images for Brain Tumor Detection",
    aliases=("braintumordataset",),
    what="Slices of brain MRI as pictures, with and without a tumour",
    objects=("brain",),
    licence="not stated by its publisher; research use",
    url="https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection",
    reference="Chakrabarty, Brain MRI Images for Brain Tumor Detection, Kaggle 2019",
    layouts=(
        ClassFolders("yes/Y1.jpg, no/1 no.jpeg; at the top, in brain_tumor_dataset/, or both", "brain", "no", "yes"),
        ObjectFolders("MVTec AD's layout, as re-packed for anomaly detection", object="brain"),
    ),
    mask_rule=None,
    expected=(Expected({"test": (98, 155)}, PAPER + "; the publisher's folders"),),
    remarks=(
        "Kaggle's archive holds everything twice; the second copy is left out",
        "Y92.jpg and Y92.png are different images; some files named .jpg are PNG",
        "some images labelled 'no' show lesions",
        _SHARED,
    ),
)

BR35H = DataSet(
    name="br35h",
    title="Br35H :: Brain Tumor Detection 2020",
    what="Slices of brain MRI as pictures, with and without a tumour",
    objects=("brain",),
    licence="not stated by its publisher; research use",
    url="https://www.kaggle.com/datasets/ahmedhamada0/brain-tumor-detection",
    reference="Hamada, Br35H :: Brain Tumor Detection 2020, Kaggle 2020",
    layouts=(
        ClassFolders(
            "yes/y0.jpg, no/no0.jpg; pred/ and Br35H-Mask-RCNN/ are left out",
            "brain",
            "no",
            "yes",
            left_out={
                "pred": "images without a label",
                "br35hmaskrcnn": "copies of images in yes/, for another task",
            },
        ),
        ObjectFolders("MVTec AD's layout, as re-packed for anomaly detection", object="brain"),
    ),
    mask_rule=None,
    expected=(Expected({"test": (1500, 1500)}, PAPER + "; the publisher's page"),),
    remarks=(
        "the reference's generator takes every folder but 'no' as anomalous, and so would count pred/ and the copies",
        _SHARED,
    ),
)

DATA_SETS = (HEADCT, BRAINMRI, BR35H)
