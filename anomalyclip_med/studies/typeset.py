"""A table as text: Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate


@dataclass(frozen=True)
class Entry:
    """A piece of text in a table.

    Attributes:
        text: as it is, unescaped.
        bold: whether it stands out.
        mark: of a note, set small and high where that can be done.
    """

    text: str
    bold: bool = False
    mark: str = ""


@dataclass(frozen=True)
class TextTable:
    """A table to be set.

    Attributes:
        name: of its files.
        caption: one sentence.
        header: of the columns.
        rows: of each column the entries that stand in its cell, joined by commas.
        labels: columns at the left that tell what the row is.
        notes: sentences below it.
        records: the figures as they go into CSV.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[tuple[Entry, ...], ...], ...]
    labels: int
    notes: tuple[str, ...]
    records: tuple[Mapping[str, Any], ...]


def markdown(table: TextTable) -> str:
    """A pipe table between its caption and its notes."""
    lines = tabulate(
        [[", ".join(_markdown(entry) for entry in cell) for cell in row] for row in table.rows],
        [escape_markdown(title) for title in table.header],
        tablefmt="pipe",
        colalign=["left" if n < table.labels else "center" for n in range(len(table.header))],
        disable_numparse=True,
    )
    notes = [f"- {escape_markdown(note)}" for note in table.notes]
    return "\n".join([escape_markdown(table.caption), "", lines, "", *notes]).rstrip() + "\n"


def latex(table: TextTable, label: str) -> str:
    r"""A floating ``table`` with booktabs' rules and a label to refer to; needs ``\usepackage{booktabs}`` and UTF-8."""
    columns = "l" * table.labels + "c" * (len(table.header) - table.labels)
    body = [" & ".join(", ".join(_latex(entry) for entry in cell) for cell in row) + r" \\" for row in table.rows]
    notes = [r"\par\smallskip\footnotesize " + " ".join(map(_escape_latex, table.notes))] if table.notes else []
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape_latex(table.caption)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_escape_latex, table.header)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *notes,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(records: Sequence[Mapping[str, Any]]) -> str:
    """CSV with a header; None is an empty field."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def escape_markdown(text: str) -> str:
    """Text that Markdown takes as it is, in a table too."""
    return re.sub(r"([\\|*<`])", r"\\\1", text)


def _markdown(entry: Entry) -> str:
    text = escape_markdown(entry.text) + (f" [{entry.mark}]" if entry.mark.isdigit() else entry.mark)
    return f"**{text}**" if entry.bold else text


def _latex(entry: Entry) -> str:
    text = _escape_latex(entry.text)
    text = rf"\textbf{{{text}}}" if entry.bold else text
    return text + (rf"\textsuperscript{{{_escape_latex(entry.mark)}}}" if entry.mark else "")


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"\textdagger{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _escape_latex(text: str) -> str:
    # The sign of a number, not a hyphen.
    return re.sub(
        r"(?<!\S)-(?=\d)|[" + re.escape("".join(_LATEX)) + "]",
        lambda found: "$-$" if found[0] == "-" else _LATEX[found[0]],
        text,
    )
