"""A data set as data: what it is, where it comes from, how it lies on disk, and what to expect of it."""

from __future__ import annotations

from dataclasses import dataclass

from anomalyclip_med.data.datasets.layouts import Layout
from anomalyclip_med.data.masks import MaskRule


@dataclass(frozen=True)
class Expected:
    """How many images a release has.

    Attributes:
        counts: section to (normal, anomalous) images, for the sections that are told.
        source: who says so.
    """

    counts: dict[str, tuple[int, int]]
    source: str


@dataclass(frozen=True)
class DataSet:
    """An entry of the registry.

    Attributes:
        name: what the command and the tables call it.
        title: what its publisher calls it.
        what: one sentence.
        objects: class names, as AnomalyCLIP's paper uses them; empty where they are the user's own.
        licence: the terms as far as they are known; not legal advice.
        url: where it is published.
        reference: what to cite.
        layouts: in the order in which they are tried.
        mask_rule: how its masks become binary; None where it has none.
        own_masks: whether its masks are the user's, so that they tell whether the rule fits them.
        expected: the releases that are known, the one of the paper first.
        remarks: what to know before results are compared.
        aliases: other names.
    """

    name: str
    title: str
    what: str
    objects: tuple[str, ...]
    licence: str
    url: str
    reference: str
    layouts: tuple[Layout, ...]
    mask_rule: MaskRule | None
    own_masks: bool = False
    expected: tuple[Expected, ...] = ()
    remarks: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


PAPER = "AnomalyCLIP (arXiv 2310.18961), table of data sets"
"""The paper whose protocol and class names are followed."""
