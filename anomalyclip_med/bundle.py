"""Runs the bundles that come with the package from Python."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anomalyclip_med.errors import ConfigurationError, own_cause


def bundle_dir(name: str) -> Path:
    """Folder of a bundle, such as ``anomalyclip_zero_shot``.

    Raises:
        ConfigurationError: there is no such bundle.

    Examples:
        >>> from anomalyclip_med.bundle import bundle_dir
        >>> (bundle_dir("anomalyclip_zero_shot") / "configs" / "inference.json").is_file()
        True
    """
    package = Path(__file__).parent
    for folder in (package / "bundles", package.parent / "bundles"):  # an installed wheel, a checkout
        if (folder / name / "configs").is_dir():
            return folder / name
    raise ConfigurationError(f"no bundle {name!r} beside {package}")


def run_bundle(name: str, config_files: list[str], **overrides: Any) -> None:
    """Initialise, run and finalise a bundle's workflow.

    Args:
        name: of the bundle.
        config_files: files in its ``configs`` folder, merged in order.
        overrides: values by configuration id; and ``tracking``, see :class:`monai.bundle.ConfigWorkflow`.

    Raises:
        ConfigurationError: an override would be executed: MONAI takes text after ``$``, ``@`` and ``%`` for code.
        AnomalyClipMedError: whatever the run itself raises.
    """
    from monai.bundle import ConfigWorkflow

    for key, value in overrides.items():
        for text in _strings(value):
            if text[:1] in ("$", "@", "%"):
                raise ConfigurationError(f"{key}={text!r} must not begin with {text[0]!r}; write a path as ./{text}")
    logging.getLogger("monai.bundle.workflows").setLevel(logging.WARNING)  # it announces its own logging file
    configs = bundle_dir(name) / "configs"
    workflow = ConfigWorkflow(
        config_file=[str(configs / file) for file in config_files],
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf"),
        workflow_type="infer",
        **overrides,
    )
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except Exception as error:
        if cause := own_cause(error):  # the user needs the one sentence inside
            raise cause from None
        raise


def _strings(value: Any) -> Iterator[str]:
    """All text in nested lists and dictionaries."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for element in value:
            yield from _strings(element)
