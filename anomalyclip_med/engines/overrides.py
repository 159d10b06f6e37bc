"""A check that MONAI leaves out: an override that nothing reads is a mistake, not an option."""

from __future__ import annotations

import difflib
import json
import re
import sys
from pathlib import Path
from types import FrameType

from monai.bundle import ConfigParser, ConfigWorkflow

from anomalyclip_med.errors import ConfigurationError


def check_overrides() -> None:
    """Refuse top-level configuration keys that no configuration file of the bundle has and that nothing refers to.

    Called by a bundle's ``initialize``. MONAI adds an unknown ``--key value`` to the configuration without a word
    and hands expressions no reference to it, so the running workflow is looked up on the call stack.

    Raises:
        ConfigurationError: names the unknown keys and the nearest known ones.
    """
    workflow = _running_workflow()
    if workflow is None:
        return
    files = [f for f in Path(workflow.config_root_path).glob("*.json") if f.name != "metadata.json"]
    known = {key for file in files for key in ConfigParser.load_config_file(str(file))} | {"_meta_"}
    content = json.dumps(workflow.parser.config, default=str)
    unknown = [key for key in workflow.parser.config if key not in known and not re.search(rf"[@%]{key}\b", content)]
    if unknown:
        hints = [f"{k} (did you mean {m[0]}?)" if (m := difflib.get_close_matches(k, known, 1)) else k for k in unknown]
        raise ConfigurationError(f"unknown option: {', '.join(hints)}. Known: {', '.join(sorted(known - {'_meta_'}))}")


def _running_workflow() -> ConfigWorkflow | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if isinstance(owner := frame.f_locals.get("self"), ConfigWorkflow):
            return owner
        frame = frame.f_back
    return None
