"""A check that MONAI leaves out: an override that nothing reads is a mistake, not an option."""

from __future__ import annotations

import difflib
import json
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from anomalyclip_med.errors import ConfigurationError

_ABSENT = object()
# Read by MONAI itself; its federated client sets a run name, tracked or not.
_ALWAYS_KNOWN = {"_meta_", "bundle_root", "imports", "run_name"}


def check_overrides() -> None:
    """Refuse top-level configuration keys that were set and that nothing in the run reads.

    Called by a bundle's ``initialize``. MONAI adds an unknown ``--key value`` to the configuration without a word
    and hands expressions no reference to it, so the running workflow is looked up on the call stack.

    Raises:
        ConfigurationError: names the keys without effect and the nearest ones that have one.
        RuntimeError: no bundle is running.

    Examples:
        >>> from anomalyclip_med.bundle import run_bundle
        >>> run_bundle("anomalyclip_zero_shot", ["inference.json"], windwo="brain")  # its initialize calls this
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: unknown option: windwo (did you mean window?). This run reads ...
    """
    workflow = _running_workflow()
    config = workflow.parser.config
    files = [f for f in Path(workflow.config_root_path).glob("*.json") if f.name != "metadata.json"]
    contents = [ConfigParser.load_config_file(str(file)) for file in files]
    used = _read_by(config, {workflow.init_id, workflow.run_id, workflow.final_id}) | _ALWAYS_KNOWN
    idle = [k for k, v in config.items() if k not in used and not any(_own(v, c.get(k, _ABSENT)) for c in contents)]
    if idle:
        hints = [f"{k} (did you mean {m[0]}?)" if (m := difflib.get_close_matches(k, used, 1)) else k for k in idle]
        raise ConfigurationError(
            f"unknown option: {', '.join(hints)}. This run reads {', '.join(sorted(used - _ALWAYS_KNOWN))}"
        )


def _own(value: Any, in_file: Any) -> bool:
    """Whether a value stands so in one of the bundle's own files, but for handlers that tracking has put at its end."""
    if isinstance(value, list) and isinstance(in_file, list):
        value = value[: len(in_file)]
    return bool(value == in_file)


def _read_by(config: dict[str, Any], roots: set[str]) -> set[str]:
    """The keys that these refer to, directly or through others, and themselves."""
    found: set[str] = set()
    waiting = [key for key in roots if key in config]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            references = re.findall(r"[@%](\w+)", json.dumps(config[key], default=str))
            waiting += [name for name in references if name in config]
    return found


def _running_workflow() -> ConfigWorkflow:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if isinstance(owner := frame.f_locals.get("self"), ConfigWorkflow):
            return owner
        frame = frame.f_back
    raise RuntimeError("check_overrides is called by a running bundle")
