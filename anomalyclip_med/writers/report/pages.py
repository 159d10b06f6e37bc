"""Turns records into pages: templates that escape everything, and the one script that a page may run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from anomalyclip_med.writers.files import replaced


def write_page(path: Path, template: str, script: str | None, provenance: dict[str, Any], **content: Any) -> None:
    """Write one self-contained page, piece by piece, so that a page may be larger than the memory.

    Args:
        path: of the page; it is replaced when the new one is complete.
        template: name of the template.
        script: name of the only script that the page may run, if any.
        provenance: see :func:`anomalyclip_med.inferers.provenance`.
        content: what the template shows.
    """
    environment = _environment()
    code = _source(script) if script else ""
    parts = environment.get_template(template).generate(
        style=Markup(_source("style.css")),
        script=Markup(code),
        script_source=_csp_hash(code) if script else "'none'",
        provenance=provenance,
        **content,
    )
    with replaced(path) as file:
        file.writelines(parts)


def score_text(score: float | None) -> str:
    """Three decimals; a missing score says so."""
    return "not scored" if score is None else f"{score:.3f}"


def slice_ranges(slices: Iterable[int]) -> str:
    """Rising slice numbers in short: "3, 5–9"."""
    ranges: list[list[int]] = []
    for index in slices:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ", ".join(f"{a}" if a == b else f"{a}\N{EN DASH}{b}" for a, b in ranges)


def failure_reason(entry: dict[str, Any]) -> str:
    """Why a slice has no score, of its record."""
    return entry.get("failure", "the run was cut short")


def failures(series: dict[str, Any]) -> dict[str, list[int]]:
    """Slices without a score by the reason for it, of one series' record."""
    reasons: dict[str, list[int]] = {}
    for entry in series["slices"]:
        if entry["score"] is None:
            reasons.setdefault(failure_reason(entry), []).append(entry["slice"])
    return reasons


def percentile_text(percentile: float) -> str:
    """Where a score lies among the user's normals, in words; rounded down, so that nothing is claimed too high."""
    if percentile == 100:
        return "above all of your normals"
    number = int(percentile)
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"above the {number}{suffix} percentile of your normals" if number else "among the lowest of your normals"


def top_slice(series: dict[str, Any]) -> int | None:
    """Number of the highest scored slice of a series' record, None where none was scored."""
    scored = [entry for entry in series["slices"] if entry["score"] is not None]
    return max(scored, key=lambda entry: entry["score"])["slice"] if scored else None


def voxel_size(series: dict[str, Any]) -> str:
    """Size of a voxel in mm as far as the file knows it, of one series' record."""
    unknown = any(warning.startswith("missing-pixel-spacing") for warning in series["warnings"])
    if unknown or series["format"] == "image":
        return "unknown"
    sizes = np.linalg.norm(np.asarray(series["affine"])[:3, :3], axis=0)
    stacked = series["shape"][2] > 1 and series["slices"][0]["position_mm"] is not None
    return " \N{MULTIPLICATION SIGN} ".join(f"{size:.2f}" for size in sizes[: 3 if stacked else 2]) + " mm"


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as rows of a table."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name} / ")
        elif value is not None:
            yield f"{above}{name}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _sentence(warning: str) -> tuple[str, str]:
    """A warning "some-code: a sentence" as a heading and the sentence."""
    code, found, text = warning.partition(": ")
    return (code[:1].upper() + code[1:].replace("-", " "), text) if found else ("", warning)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _csp_hash(code: str) -> str:
    return f"'sha256-{_base64(hashlib.sha256(code.encode()).digest())}'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("anomalyclip_med.writers.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = (score_text, slice_ranges, failures, percentile_text, top_slice, voxel_size)
    environment.filters |= {function.__name__: function for function in functions}
    environment.filters |= {"flat": _flat, "sentence": _sentence, "base64": _base64}
    return environment


def _source(name: str) -> str:
    """A file of the templates as it is."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
