"""Sheets of images with the maps of variants: what is shown."""

from __future__ import annotations

from anomalyclip_med.studies.plan import Evaluation
from anomalyclip_med.studies.sheets import columns


def cell(variant: str, source: str, seed: int = 0) -> Evaluation:
    return Evaluation(f"{variant} {source} {seed}", {}, variant, source, "ddti", seed, None, 0)


def test_a_column_is_a_variants_first_training() -> None:
    cells = [cell("a", "mvtec"), cell("a", "visa"), cell("b", "mvtec"), cell("a", "mvtec", seed=1)]
    assert columns(cells) == {"a": cells[0], "b": cells[2]}


def test_tuned_prompts_stand_beside_those_that_they_were_tuned_from() -> None:
    cells = [cell("a", "mvtec"), cell("a", "visa"), cell("a", "mvtec > ddti"), cell("a", "visa > ddti")]
    assert columns(cells) == {"a, mvtec": cells[0], "a, mvtec > ddti": cells[2]}
