"""The project's own files agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from .conftest import REPOSITORY


def test_badges_are_true() -> None:
    badges = re.findall(r"img.shields.io/badge/([^)]+)-\w+\)", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (monai,) = (needed for needed in project["dependencies"] if needed.startswith("monai"))
    minor = re.findall(r">=(\d+\.\d+)", monai)[0]
    assert badges == [
        f"python-{project['requires-python'].removeprefix('>=')}+",
        f"licence-{project['license'].replace('-', '--')}",
        f"MONAI-{minor}",
        "use-research_only",
    ]


def test_every_package_is_in_the_wheel() -> None:
    listed = set(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        ".".join(folder.parent.relative_to(REPOSITORY).parts)
        for folder in Path(REPOSITORY).glob("anomalyclip_med/**/__init__.py")
    }
    # Folders without modules: setuptools wants those with data named, too.
    data = {"anomalyclip_med.prompts", "anomalyclip_med.writers.report.templates", "anomalyclip_med.bundles"}
    data |= {
        ".".join(("anomalyclip_med", *folder.relative_to(REPOSITORY).parts))
        for folder in (REPOSITORY / "bundles").glob("**/")
        if folder != REPOSITORY / "bundles"
    }
    assert listed == found | data


def test_no_bundle_holds_a_copy_of_what_another_one_has() -> None:
    files = [f for f in (REPOSITORY / "bundles").rglob("*") if f.is_file()]
    assert len({f.parents[1].name for f in files if f.parent.name == "configs"}) == 2
    contents: dict[bytes, Path] = {}
    for file in files:
        assert contents.setdefault(file.read_bytes(), file).samefile(file), f"{file}: make it a link"
    assert not [f for f in files if f.suffix == ".py"]
