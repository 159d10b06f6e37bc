"""Dermoscopy: ISIC 2016, the set of the paper, and the later years' segmentation tasks."""

from __future__ import annotations

from anomalyclip_med.data.datasets.dataset import PAPER, DataSet, Expected
from anomalyclip_med.data.datasets.layouts import IMAGES, MASKS, FolderPair, ObjectFolders, PairedFolders
from anomalyclip_med.data.masks import MaskRule

ISIC = DataSet(
    name="isic",
    title="ISIC 2016, part 1 (ISBI challenge)",
    aliases=("isic2016", "isbi", "isbi2016"),
    what="Dermoscopic pictures, each with a lesion",
    objects=("skin",),
    licence="CC0 for the 2016 challenge's data; see the archive",
    url="https://challenge.isic-archive.com/data/#2016",
    reference="Gutman et al., Skin Lesion Analysis toward Melanoma Detection: A Challenge at ISBI 2016, "
    "arXiv 1605.01397",
    layouts=(
        PairedFolders(
            "ISBI2016_ISIC_Part1_{Test,Training}_Data/ISIC_0000003.jpg with "
            "..._GroundTruth/ISIC_0000003_Segmentation.png; the same of ISIC 2017 and 2018; images/ with masks/",
            "skin",
            pairs=(
                FolderPair(r"isbi2016isicpart1testdata", r"isbi2016isicpart1testgroundtruth", "test"),
                FolderPair(r"isbi2016isicpart1trainingdata", r"isbi2016isicpart1traininggroundtruth", "training"),
                FolderPair(r"isic2017testv2data", r"isic2017testv2part1groundtruth", "test"),
                FolderPair(r"isic2017trainingdata", r"isic2017trainingpart1groundtruth", "training"),
                FolderPair(r"isic2017validationdata", r"isic2017validationpart1groundtruth", "validation"),
                FolderPair(r"isic2018task12testinput", r"isic2018task1testgroundtruth", "test"),
                FolderPair(r"isic2018task12traininginput", r"isic2018task1traininggroundtruth", "training"),
                FolderPair(r"isic2018task12validationinput", r"isic2018task1validationgroundtruth", "validation"),
                FolderPair(IMAGES, MASKS),
            ),
            hint="isic|isbi",
            ignore=r".*_superpixels",
        ),
        ObjectFolders(
            "skin/test/DEFECT/* with skin/ISBI2016_ISIC_Part1_Test_GroundTruth/*, as AnomalyCLIP's authors pass it on",
            object="skin",
            truth=r"groundtruth|masks?|gt|isbi2016isicpart1testgroundtruth",
        ),
    ),
    mask_rule=MaskRule.ABOVE_127,
    expected=(
        Expected({"test": (0, 379)}, PAPER + "; Gutman et al. 2016"),
        Expected({"training": (0, 900)}, "Gutman et al. 2016"),
        Expected({"test": (0, 600), "training": (0, 2000), "validation": (0, 150)}, "ISIC 2017"),
        Expected({"test": (0, 1000), "training": (0, 2594), "validation": (0, 100)}, "ISIC 2018, task 1"),
    ),
    remarks=("the years share images: a model trained on one must not be tested on another",),
)

DATA_SETS = (ISIC,)
