"""The page of a study: provenance, tables, figures and what is missing, and the files beside it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from anomalyclip_med.studies.report import sheet_file, write_report

from .made_up import failure, made_up_study, over_seeds

STUDY = made_up_study(
    title="A transfer",
    remarks="Read this first.",
    variants={"ours": {"published": "anomalyclip"}, "+ start": {"train": False}},
    tables=[{"metrics": ["image_auroc"]}],
    matrix=["image_auroc", "pixel_auroc"],
)
RESULTS = [
    *over_seeds("ours", "headct", "image_auroc", [90, 92, 94]),
    *over_seeds("ours", "brainmri", "image_auroc", [80, 80], images=253, anomalous=155),
    *over_seeds("+ start", "headct", "image_auroc", [50, 50, 50], "none", trained=False),
    *(failure("+ start", target, seed, "none", "out of\nmemory") for target in ("brainmri",) for seed in (0, 1, 2)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    Image.new("RGB", (4, 4)).save(folder / sheet_file("headct"))
    write_report(STUDY, RESULTS, folder)
    return folder


def test_report_has_everything_in_its_place(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    order = [
        "# A transfer\n\nRead this first.\n",
        "- Backbone: offline (SHA-256 0123456789ab)\n",
        "- Backbone or prompts untrained: + start\n",
        "- Seeds: 0, 1, 2\n",
        "- Images: headct 200 (100 abnormal); brainmri 253 (155 abnormal)\n",
        "- anomalyclip_med 0.1.0\n",
        "## Tables\n\n**Table 1** (`table_1.csv`, `.tex`). Image AUROC, in percent",
        "**Table 2** (`published_image.csv`, `.tex`). Image AUROC and image AP, in percent, beside the published",
        "## Figures\n",
        "](matrix_image_auroc.png)\n",
        "](sheet_headct.png)\n",
        "## Failures and gaps\n\n- **+ start**, learned from none, seed 0, 1, 2, measured on brainmri: out of memory\n"
        "- **ours**, learned from mvtec, measured on brainmri: no results of seed 2\n",
    ]
    places = [text.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)
    assert "matrix_pixel_auroc" not in text  # nothing of it was measured
    assert "sheet_brainmri" not in text


def test_report_is_written_with_all_that_it_names(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "report.md",
        "summary.csv",
        "table_1.csv",
        "table_1.tex",
        "published_image.csv",
        "published_image.tex",
        "matrix_image_auroc.png",
        "sheet_headct.png",
    }
    assert r"\label{tab:made_up_table_1}" in (folder / "table_1.tex").read_text(encoding="utf-8")
    with Image.open(folder / "matrix_image_auroc.png") as picture:
        assert min(picture.size) > 200
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = {(row["variant"], row["target"]): row for row in csv.DictReader(file)}
    assert (rows["ours", "headct"]["mean"], rows["ours", "headct"]["sd"]) == ("92.0", "2.0")
    assert (rows["ours", "brainmri"]["seeds"], rows["ours", "brainmri"]["state"]) == ("2", "partial")
    assert (rows["+ start", "brainmri"]["mean"], rows["+ start", "brainmri"]["state"]) == ("", "failed")


def test_a_study_that_failed_throughout_has_a_report_as_well(tmp_path: Path) -> None:
    results = [failure("ours", target, seed, error="a|b") for target in ("headct", "brainmri") for seed in range(3)]
    write_report(STUDY, results, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert r"- **ours**, learned from mvtec, seed 0, 1, 2, measured on headct, brainmri: a\|b" in text
    assert "| headct        | failed |" in text


def test_counts_that_differ_are_all_told(tmp_path: Path) -> None:
    split = [replace(result, images=100, anomalous=50) for result in over_seeds("ours", "headct", "image_ap", [90] * 3)]
    write_report(STUDY, [*RESULTS, *split], tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "headct 200 (100 abnormal) or 100 (50 abnormal)" in text
