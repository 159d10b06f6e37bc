"""Chest radiographs: the COVID-19 Radiography Database."""

from __future__ import annotations

from anomalyclip_med.data.datasets.dataset import DataSet, Expected
from anomalyclip_med.data.datasets.layouts import ClassFolders, ObjectFolders

COVID19 = DataSet(
    name="covid19",
    title="COVID-19 Radiography Database",
    aliases=("covid", "covid19radiographydatabase", "covid19radiographydataset"),
    what="Chest radiographs of patients with COVID-19 and without findings",
    objects=("chest",),
    licence="see the page of the archive; its parts come from many sources",
    url="https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
    reference="Chowdhury et al., Can AI help in screening viral and COVID-19 pneumonia?, IEEE Access 2020; Rahman et "
    "al., Exploring the effect of image enhancement techniques on COVID-19 detection, Computers in Biology and "
    "Medicine 2021",
    layouts=(
        ClassFolders(
            "COVID/COVID-1.png and Normal/Normal-1.png, or COVID/images/ and Normal/images/ beside masks/",
            "chest",
            "normal",
            "covid|covid19",
            left_out={
                "masks?": "masks of the lungs, not of lesions",
                "lungopacity": "another finding: the paper compares COVID-19 with normal",
                "viralpneumonia": "another finding: the paper compares COVID-19 with normal",
            },
        ),
        ObjectFolders("MVTec AD's layout, as re-packed for anomaly detection", object="chest"),
    ),
    mask_rule=None,
    expected=(
        Expected({"test": (10192, 3616)}, "the publisher's page: today's archive"),
        Expected({"test": (1341, 219)}, "the publisher's page: first release"),
        Expected({"test": (1341, 1200)}, "the publisher's page: first update"),
    ),
    remarks=(
        "the releases differ in what is easy, and papers do not say which they use: some figures fit only the first",
        "the reference's generator looks for a folder 'NORMAL' and takes all others as anomalous; today's is 'Normal'",
        "sources differ by class (children among the first normals): a detector may tell hospitals, not lungs",
        "patients are not told, so images of one patient may be in a set many times",
    ),
)

DATA_SETS = (COVID19,)
