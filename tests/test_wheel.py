"""The wheel has all that it needs: installed in an environment of its own, it scores, and its bundles run from it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalyclip_med.cli import main

from .conftest import REPOSITORY

pytestmark = pytest.mark.slow
MODEL = {"clip": "untrained", "image_size": "70", "device": "cpu"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the wheel; what the package depends on is taken from this environment, to save the time to install it."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, as setuptools leaves what it built in the tree, and takes it from there the next time.
    ignored = shutil.ignore_patterns(".*", "build", "demo", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, folder / "tree", ignore=ignored)
    pip = [sys.executable, "-m", "pip"]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "wheel", *options, str(folder / "tree")], check=True)
    (wheel,) = folder.glob("anomalyclip_med-*.whl")
    venv.create(folder / "env")
    python = folder / "env" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)], check=True)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "env"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(2):
        (tmp_path / "scans").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 50), dtype=np.uint8)).save(tmp_path / "scans" / f"{number}.png")
    return tmp_path / "scans"


def run(folder: Path, *command: Any) -> str:
    return subprocess.run(
        [str(part) for part in command], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def scores(folder: Path) -> list[float]:
    studies = json.loads((folder / "scores.json").read_text())["studies"]
    return [series["score"] for study in studies for series in study["series"]]


def test_it_scores_as_the_checkout_does(environment: Path, scans: Path, tmp_path: Path) -> None:
    options = [text for key, value in MODEL.items() for text in (f"--{key.replace('_', '-')}", value)]
    assert main(["score", str(scans), "-o", str(tmp_path / "checkout"), *options]) == 0
    run(tmp_path, environment / "bin" / "anomalyclip-med", "score", scans, "-o", "wheel", *options)
    assert scores(tmp_path / "wheel") == pytest.approx(scores(tmp_path / "checkout"), abs=1e-6)


def test_its_bundles_run(environment: Path, scans: Path, tmp_path: Path) -> None:
    python = environment / "bin" / "python"
    where = "from anomalyclip_med.bundle import bundle_dir; print(bundle_dir('anomalyclip_zero_shot'))"
    bundle = Path(run(tmp_path, python, "-c", where).strip())
    assert environment in bundle.parents
    options = [text for key, value in MODEL.items() for text in (f"--{key}", value)]
    config = bundle / "configs" / "inference.json"
    run(tmp_path, python, "-m", "monai.bundle", "run", "--config_file", config, "--dataset_dir", scans, "--output_dir",
        "out", *options)  # fmt: skip
    assert len(scores(tmp_path / "out")) == 2

    for part, count in (("trainval", 5), ("test", 1)):
        for kind in ("image", "mask"):
            (tmp_path / "tn3k" / f"{part}-{kind}").mkdir(parents=True)
            for number in range(count):
                shutil.copy(scans / "0.png", tmp_path / "tn3k" / f"{part}-{kind}" / f"{number:04d}.png")
    prepare = bundle.parent / "anomalyclip_tn3k_finetuned" / "configs" / "prepare.json"
    run(tmp_path, python, "-m", "monai.bundle", "run", "--config_file", prepare, "--dataset_dir", "tn3k")
    assert len(json.loads((tmp_path / "tn3k" / "datalist.json").read_text())["test"]) == 1
