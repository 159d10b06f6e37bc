"""Breast ultrasound: BUSI, with masks beside the images, several to some."""

from __future__ import annotations

from anomalyclip_med.data.datasets.dataset import DataSet, Expected
from anomalyclip_med.data.datasets.layouts import ClassFolders
from anomalyclip_med.data.datasets.pairing import MASK_NAME
from anomalyclip_med.data.masks import MaskRule

BUSI = DataSet(
    name="busi",
    title="BUSI (Breast Ultrasound Images)",
    aliases=("datasetbusiwithgt", "datasetbusi"),
    what="Ultrasound of the breast: normal, benign, malignant; not one of the paper's data sets",
    objects=("breast",),
    licence="CC BY 4.0 as published with the article",
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    reference="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 2020",
    layouts=(
        ClassFolders(
            "Dataset_BUSI_with_GT/{benign,malignant,normal}/benign (1).png, benign (1)_mask.png, benign (1)_mask_1.png",
            "breast",
            "normal",
            "benign|malignant",
            mask_name=MASK_NAME,
        ),
    ),
    mask_rule=MaskRule.ABOVE_127,
    expected=(Expected({"test": (133, 647)}, "Al-Dhabyani et al. 2020: 437 benign, 210 malignant, 133 normal"),),
    remarks=(
        "an image with several lesions has several masks, which are united",
        "some images are copies or carry marks of the examiner (Pawlowska et al., Data in Brief 2023)",
    ),
)

DATA_SETS = (BUSI,)
