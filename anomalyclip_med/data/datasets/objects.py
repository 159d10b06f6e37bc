"""Industrial data sets in MVTec AD's layout: MVTec AD, MPDD, BTAD and DTD-Synthetic."""

from __future__ import annotations

from anomalyclip_med.data.datasets.dataset import PAPER, DataSet, Expected
from anomalyclip_med.data.datasets.layouts import ObjectFolders
from anomalyclip_med.data.masks import MaskRule

_TEXT = "OBJECT/train/good/*, OBJECT/test/DEFECT/000.png, OBJECT/ground_truth/DEFECT/000_mask.png"

MVTEC = DataSet(
    name="mvtec",
    title="MVTec AD",
    aliases=("mvtecad", "mvtecanomalydetection"),
    what="Photographs of 10 objects and 5 textures, with and without defects",
    objects=(
        "bottle",
        "cable",
        "capsule",
        "carpet",
        "grid",
        "hazelnut",
        "leather",
        "metal_nut",
        "pill",
        "screw",
        "tile",
        "toothbrush",
        "transistor",
        "wood",
        "zipper",
    ),
    licence="CC BY-NC-SA 4.0",
    url="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    reference="Bergmann et al., MVTec AD - A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection, "
    "CVPR 2019",
    layouts=(ObjectFolders(_TEXT),),
    mask_rule=MaskRule.ABOVE_127,
    expected=(Expected({"training": (3629, 0), "test": (467, 1258)}, "Bergmann et al. 2019, table 2"),),
)

MPDD = DataSet(
    name="mpdd",
    title="MPDD",
    what="Photographs of painted metal parts, at several positions and distances",
    objects=("bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"),
    licence="CC BY-NC-SA 4.0",
    url="https://github.com/stepanje/MPDD",
    reference="Jezek et al., Deep learning-based defect detection of metal parts, ICUMT 2021",
    layouts=(ObjectFolders(_TEXT),),
    mask_rule=MaskRule.HALF,
    expected=(Expected({"training": (888, 0), "test": (176, 282)}, "Jezek et al. 2021"),),
)

BTAD = DataSet(
    name="btad",
    title="BTAD (beanTech anomaly detection)",
    aliases=("beantech", "btech"),
    what="Photographs of three industrial products",
    objects=("01", "02", "03"),
    licence="CC BY-NC-SA 4.0",
    url="http://avires.dimi.uniud.it/papers/btad/btad.zip",
    reference="Mishra et al., VT-ADL: A Vision Transformer Network for Image Anomaly Detection and Localization, "
    "ISIE 2021",
    layouts=(ObjectFolders("BTech_Dataset_transformed/01/{train,test}/{ok,ko}/*, 01/ground_truth/ko/*, PNG or BMP"),),
    mask_rule=MaskRule.HALF,
    expected=(Expected({"training": (1799, 0), "test": (451, 290)}, PAPER + "; training as commonly counted"),),
)

DTD_SYNTHETIC = DataSet(
    name="dtd_synthetic",
    title="DTD-Synthetic",
    aliases=("dtd",),
    what="Textures of DTD, turned and cropped, with synthetic defects",
    objects=(
        "Woven_001",
        "Woven_127",
        "Woven_104",
        "Stratified_154",
        "Blotchy_099",
        "Woven_068",
        "Woven_125",
        "Marbled_078",
        "Perforated_037",
        "Mesh_114",
        "Fibrous_183",
        "Matted_069",
    ),
    licence="not stated by its authors; DTD itself is for research",
    url="https://drive.google.com/drive/folders/10OyPzvI3H6llCZBxKxFlKWt1Pw1tkMK1",
    reference="Aota et al., Zero-shot versus Many-shot: Unsupervised Texture Anomaly Detection, WACV 2023",
    layouts=(ObjectFolders(_TEXT),),
    mask_rule=MaskRule.HALF,
    expected=(Expected({"training": (1200, 0), "test": (357, 947)}, PAPER + "; training as commonly counted"),),
)

DATA_SETS = (MVTEC, MPDD, BTAD, DTD_SYNTHETIC)
