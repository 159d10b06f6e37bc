"""The project's own files agree with each other."""

from __future__ import annotations

import tomllib
from pathlib import Path

from .conftest import REPOSITORY


def test_every_package_is_in_the_wheel() -> None:
    listed = set(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        ".".join(folder.parent.relative_to(REPOSITORY).parts)
        for folder in Path(REPOSITORY).glob("anomalyclip_med/**/__init__.py")
    }
    assert listed == found | {"anomalyclip_med.bundles"}
