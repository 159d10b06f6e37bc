"""What the documents tell to type is what there is: every command is parsed, and run where that needs no download."""

from __future__ import annotations

import ast
import copy
import inspect
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import fire
import monai.bundle
import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser
from PIL import Image

from anomalyclip_med.backbones.untrained import build_untrained
from anomalyclip_med.cli import _parser, main

from .conftest import REPOSITORY

DOCUMENTS = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "bundles/*/docs/*.md")
    for path in REPOSITORY.glob(pattern)
)
CLI, BUNDLE = "anomalyclip-med ", "python -m monai.bundle "

NOT_RUN = {
    # Downloads; what is fetched is tested in tests/test_weights.py.
    r"weights fetch": "weights",
    r"--prompts anomalyclip-": "the authors' prompts",
    r'"anomalyclip-mvtec"': "the authors' prompts",
    r"verify_metadata": "MONAI's schema; tests/test_bundle.py",
    r"CONFIGS/(prepare|finetune|compare)\.json|finetuned/": "TN3K; tests/test_tn3k_bundle.py",
    # Need another program, or several processes.
    r"pacs (listen|watch)": "a PACS; tests/pacs",
    r"^torchrun": "several processes; tests/test_bundle.py and tests/engines",
    # Take long.
    r"study run": "an hour, and to plan it the time of a ViT-L/14 is taken; tests/studies",
    r"verify_net_in_out|ckpt_export|onnx_export": "ViT-L/14; tests/test_bundle.py",
    r"\.onnx": "half a minute in ONNX's exporter; tests/exports",
    # Continue what a reader has begun, with names of his own.
    r"MonaiAlgo|parser\.update\(model\)": "tests/engines/test_federated.py",
    r"AnomalyCLIPLoss": "tests/losses/test_anomalyclip.py",
}
"""Commands and examples that are only parsed here: why, and where they run."""

SMALL = {
    "score": "--clip untrained --image-size 56 --device cpu --top-slices 0",
    "evaluate": "--clip untrained --image-size 56 --device cpu",
    "export": "--clip untrained --image-size 56",
    "train": "--clip untrained --image-size 56 --device cpu --epochs 1",
}
"""Options after those of the document, which they override: any machine has this CLIP."""
SMALL_BUNDLE = "--clip untrained --image_size 56 --device cpu"


class Block(NamedTuple):
    """A fenced block of a document."""

    language: str
    text: str


def blocks(document: str) -> list[Block]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return [Block(*found) for found in re.findall(r"^```(\S*)[^\n]*\n(.*?)^```", text, re.S | re.M)]


def commands(document: str, block: Block) -> list[str]:
    """The lines of a block that a shell takes, without comments; placeholders are filled in."""
    if block.language not in ("", "bash"):
        return []
    text = block.text.replace("\\\n", " ")
    folder = REPOSITORY / document
    text = text.replace("CONFIGS/", f"{folder.parents[1] / 'configs'}/")
    text = text.replace("$B/", "bundles/anomalyclip_zero_shot/configs/").replace("$SLURM_ARRAY_TASK_ID", "0")
    return [shlex.join(words) for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def not_run(text: str) -> bool:
    return any(re.search(pattern, text) for pattern in NOT_RUN)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_one_that_there_is(document: str, monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    for block in blocks(document):
        if block.language == "python":
            ast.parse(block.text)
        for line in commands(document, block):
            words = shlex.split(line)
            if line.startswith(CLI):
                _parser().parse_args(words[1:])
            elif "-m monai.bundle " in line:
                check_bundle_command(words[words.index("monai.bundle") + 1 :])
            elif words[0] == "make":
                done = subprocess.run(["make", "--dry-run", *words[1:]], capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr


def check_bundle_command(words: list[str]) -> None:
    """Every option is one of MONAI's command, or a key of the configuration."""
    command = getattr(monai.bundle, words[0])
    options = {name.removeprefix("--"): value for name, value in zip(words[1::2], words[2::2], strict=True)}
    parser = ConfigParser()
    if "config_file" in options:
        files = options["config_file"]
        parser.read_config(ast.literal_eval(files) if files.startswith("[") else files)
    unknown = options.keys() - inspect.signature(command).parameters.keys() - parser.get().keys()
    assert not unknown, f"{words[0]}: no such options: {sorted(unknown)}"


def test_every_reason_not_to_run_something_is_still_needed() -> None:
    told = [line for document in DOCUMENTS for block in blocks(document) for line in commands(document, block)]
    told += [block.text for document in DOCUMENTS for block in blocks(document) if block.language == "python"]
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, text) for text in told)] == []


BUILT: dict[str, tuple[Any, str]] = {}


def built_once(*arguments: Any) -> tuple[Any, str]:
    """The CLIP with random weights: to build it takes longer than to use it."""
    key = repr(arguments)
    if key not in BUILT:
        BUILT[key] = build_untrained(*arguments)
    return copy.deepcopy(BUILT[key])


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the documents name, small."""
    rng = np.random.default_rng(0)

    def pictures(folder: str, *names: str) -> None:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            Image.fromarray(rng.integers(0, 255, (28, 28), dtype=np.uint8)).save(tmp_path / folder / name)

    def labelled(folder: str) -> None:
        """As 'datasets prepare folder' finds it, with its data list."""
        normal, abnormal = ([f"{kind}{number}.png" for number in range(8)] for kind in "na")
        pictures(f"{folder}/normal", *normal)
        pictures(f"{folder}/tumour", *abnormal)
        for name in abnormal:
            mask = np.zeros((28, 28), np.uint8)
            mask[4:12, 4:12] = 255
            Image.fromarray(mask).save(tmp_path / folder / "tumour" / name.replace(".png", "_mask.png"))
        entries = [{"image": f"normal/{name}", "label": 0} for name in normal]
        for name in abnormal:
            mask_name = name.replace(".png", "_mask.png")
            entries.append({"image": f"tumour/{name}", "label": 1, "mask": f"tumour/{mask_name}"})
        (tmp_path / folder / "datalist.json").write_text(json.dumps({"test": entries, "training": entries}))

    for folder in ("scans", "path/to/scans", "path/to/normals", "parts/0"):
        pictures(folder, "a.png", "b.png")
    for folder in ("path/to/images", "path/to/VisA", "path/to/MVTec", "VisA"):
        labelled(folder)
    for folder in ("path/to/HeadCT", "HeadCT"):
        pictures(f"{folder}/head_ct", *(f"{number:03d}.png" for number in range(4)))
        labels = "id, hemorrhage\n" + "".join(f"{number},{number % 2}\n" for number in range(4))
        (tmp_path / folder / "labels.csv").write_text(labels)
        entries = [{"image": f"head_ct/{number:03d}.png", "label": number % 2} for number in range(4)]
        (tmp_path / folder / "datalist.json").write_text(json.dumps({"test": entries}))
    for folder in ("data/BrainMRI", "path/to/BrainMRI"):
        pictures(f"{folder}/yes", "Y1.jpg", "Y2.jpg")
        pictures(f"{folder}/no", "1 no.jpeg", "2 no.jpg")
    pictures("path/to/BrainMRI_masks/yes", "Y1.jpg", "Y2.jpg")
    nib.save(nib.Nifti1Image(rng.random((9, 8, 3), np.float32), np.eye(4)), tmp_path / "t1.nii.gz")
    monkeypatch.setattr("anomalyclip_med.backbones.clip.build_untrained", built_once)
    for folder in ("bundles", "configs"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def as_a_shell(word: str, home: Path) -> list[str]:
    word = word.replace("~/", f"{home}/")
    return sorted(str(path.relative_to(home)) for path in home.glob(word)) if "*" in word else [word]


DOCUMENTS_THAT_RUN = [
    document
    for document in DOCUMENTS
    if any(
        not not_run(text)
        for block in blocks(document)
        for text in ([block.text] if block.language == "python" else commands(document, block))
        if block.language == "python" or text.startswith((CLI, BUNDLE))
    )
]


def read_through(document: str, workplace: Path, as_written: bool = False) -> None:
    """All commands and examples, one after the other: what one writes, others read."""
    for block in blocks(document):
        if block.language == "python" and not not_run(block.text):
            exec(compile(block.text, document, "exec"), {"__name__": document})
        for line in commands(document, block):
            if not line.startswith((CLI, BUNDLE)) or not_run(line):
                continue
            words = [path for word in shlex.split(line) for path in as_a_shell(word, workplace)]
            drawn = ["--procedural", "4"] if "--procedural" in words else []
            if line.startswith(CLI):
                whole = "--model" in words  # has its own CLIP and size
                own_model = re.search(r"^\S+ train|--(clip|method|prompts)", line)
                small = [] if whole or (as_written and not own_model) else shlex.split(SMALL.get(words[1], ""))
                assert main([*words[1:], *small, *drawn]) == 0, line
            else:
                words = [word.replace("openai_vitl14_336.json", "inference.json") for word in words]
                short = ["--epochs", "1"] if "train.json" in line else []
                fire.Fire(monai.bundle.run, command=[*words[4:], *shlex.split(SMALL_BUNDLE), *drawn, *short])


@pytest.mark.parametrize("document", DOCUMENTS_THAT_RUN)
def test_a_reader_gets_through_a_document(document: str, workplace: Path) -> None:
    read_through(document, workplace)


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS_THAT_RUN)
def test_a_reader_gets_through_a_document_with_the_default_backbone(
    document: str, workplace: Path, offline_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(offline_cache))
    read_through(document, workplace, as_written=True)


MEASURED = {
    "HeadCT": ("headct", "HeadCT"),
    "BrainMRI": ("brainmri", "BrainMRI"),
    "COVID-19": ("covid19", "COVID-19_Radiography_Dataset"),
    "CVC-ClinicDB": ("clinicdb", "CVC-ClinicDB"),
    "DDTI": ("ddti", "DDTI_preprocessed"),
    "Kvasir": ("kvasir", "Kvasir-SEG"),
}
METRICS = {"image AUROC": "image_auroc", "image AP": "image_ap", "pixel AUROC": "pixel_auroc", "AUPRO": "pixel_aupro"}


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("title", MEASURED)
def test_the_model_card_has_the_figures_that_its_commands_give(
    title: str, tmp_path: Path, real_data: Path, offline_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(offline_cache))
    name, folder = MEASURED[title]
    card = (REPOSITORY / "docs" / "model_card_offline.md").read_text(encoding="utf-8")
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in card.splitlines() if line[:1] == "|"]
    (header,) = (row for row in table if row[0] == "data set")
    (told,) = (dict(zip(header, row, strict=True)) for row in table if row[0] == title)

    datalist, root = str(tmp_path / "list.json"), str(real_data / folder)
    masks = ["--masks", str(real_data / "BrainMRI_masks")] if name == "brainmri" else []
    assert main(["datasets", "prepare", name, root, "-o", datalist, *masks]) == 0
    assert main(["evaluate", datalist, "--root", root, "-o", str(tmp_path), "--device", "cpu"]) == 0
    (found,) = json.loads((tmp_path / "metrics.json").read_text())["classes"].values()
    assert told["images (abnormal)"] == f"{found['images']} ({found['anomalous']})"
    for shown, metric in METRICS.items():
        if found[metric] is None:
            assert not told[shown]
        else:
            low, high = found["intervals"][metric]
            figures = [float(figure) for figure in re.findall(r"[\d.]+", told[shown])]
            assert figures == pytest.approx([100 * found[metric], 100 * low, 100 * high], abs=0.11)
