"""Examples in docstrings are run, and every public function has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import anomalyclip_med


def modules() -> Iterator[ModuleType]:
    yield anomalyclip_med
    for found in pkgutil.walk_packages(anomalyclip_med.__path__, "anomalyclip_med."):
        yield importlib.import_module(found.name)


MODULES = {module.__name__: module for module in modules()}
EXAMPLES = {
    example.name: example
    for module in MODULES.values()
    for example in doctest.DocTestFinder(exclude_empty=True).find(module)
    if example.examples
}
FUNCTIONS = {
    f"{function.__module__}.{function.__name__}"
    for module in MODULES.values()
    for function in (getattr(module, name) for name in getattr(module, "__all__", ()))
    if isinstance(inspect.unwrap(function) if callable(function) else function, FunctionType)
}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_gives_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
        EXAMPLES[name], out=told.append
    )
    assert not told, "".join(told)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_public_function_has_an_example(name: str) -> None:
    assert name in EXAMPLES
