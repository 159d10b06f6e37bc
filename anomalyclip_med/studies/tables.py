"""The tables of a study in the paper's arrangement: rows by columns, several metrics in a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from anomalyclip_med.studies.beside import LEVELS, effects_table, published_table
from anomalyclip_med.studies.config import Axis, Study, Table
from anomalyclip_med.studies.summary import Key, Summary, axis_labels, mean_over, numbers
from anomalyclip_med.studies.typeset import Entry, TextTable
from anomalyclip_med.studies.wording import ABSENT, FAILED, METRIC_TITLES, UNDEFINED, entry, legend, sentence, told

_MEAN = "mean"
_AXES: tuple[Axis, ...] = get_args(Axis)
_ALL = {"variant": "methods", "source": "what was learned from", "target": "what was measured on"}
_ONE = {"variant": "method", "source": "learned from", "target": "measured on"}

Place = tuple[str, str, str]
"""Row, column and metric."""


def study_tables(study: Study, found: Mapping[Key, Summary]) -> list[TextTable]:
    """All tables of a study that there are figures for, those beside published figures last.

    Args:
        study: whose tables, variants and profile say what to make.
        found: see :func:`~anomalyclip_med.studies.summary.summarise`.
    """
    tables: list[TextTable] = []
    for table in study.tables:
        parts = {"": found}
        if "variant" not in (table.rows, table.columns):  # a mean over methods would tell nothing
            parts = {name: {c: s for c, s in found.items() if c.variant == name} for name in study.variants}
        for variant, part in parts.items():
            if any(cell.metric in table.metrics for cell in part):
                tables.append(_Pivot(table, study, part).text(f"table_{len(tables) + 1}", variant))
    beside = [*(published_table(study, found, level) for level in LEVELS), effects_table(study, found)]
    return tables + [table for table in beside if table]


class _Pivot:
    """The figures of a table by their places, with what there is to say about them."""

    def __init__(self, table: Table, study: Study, found: Mapping[Key, Summary]) -> None:
        self.table = table
        self.study = study
        self.rows = axis_labels(table.rows, study, found)
        self.columns = axis_labels(table.columns, study, found)
        self.figures: dict[Place, Summary] = {}
        self.notes: list[str] = []
        self._leave_out(found)
        self._place(found)
        if "target" in (table.rows, table.columns):
            self._add_mean()

    def _leave_out(self, found: Mapping[Key, Summary]) -> None:
        """Take out the data sets for which the metrics are undefined, as pixels' are without masks."""
        metrics = self.table.metrics
        telling = {c.target for c, s in found.items() if c.metric in metrics and s.state != "undefined"}
        without = {cell.target for cell in found} - telling
        for axis, labels in ((self.table.rows, self.rows), (self.table.columns, self.columns)):
            if axis != "target":  # a set that is learned from may have the same name
                continue
            if names := [label for label in labels if label in without]:
                self.notes.append(f"Without these metrics, and left out: {', '.join(names)}.")
                labels[:] = [label for label in labels if label not in without]

    def _place(self, found: Mapping[Key, Summary]) -> None:
        """Put the figures into their places, as the mean over what is neither row nor column."""
        (hidden,) = (axis for axis in _AXES if axis not in (self.table.rows, self.table.columns))
        kept: dict[str, dict[str, tuple[str, ...]]] = {}
        for metric in self.table.metrics:
            # Means over sources are compared within a data set, means over data sets in the whole table.
            groups: dict[str, dict[Place, dict[str, Summary]]] = {}
            for cell, summary in found.items():
                if cell.metric == metric:
                    place = getattr(cell, self.table.rows), getattr(cell, self.table.columns), metric
                    lines = groups.setdefault(cell.target if hidden == "source" else "", {})
                    lines.setdefault(place, {})[getattr(cell, hidden)] = summary
            for group, lines in groups.items():
                means, names = mean_over(lines)
                self.figures |= means
                kept.setdefault(group, {})[metric] = names
        if hidden != "variant":
            shown = [group for group in ("", *self.rows, *self.columns) if any(kept.get(group, {}).values())]
            self.notes += told(_ONE[hidden], {group: kept[group] for group in shown})

    def _add_mean(self) -> None:
        """Add the mean over the data sets, of those that every other row or column has."""
        down = self.table.rows == "target"
        targets, others = (self.rows, self.columns) if down else (self.columns, self.rows)
        if len(targets) < 2:
            return
        kept: dict[str, tuple[str, ...]] = {}
        for metric in self.table.metrics:
            lines: dict[Place, dict[str, Summary]] = {}
            for other in others:
                mean = (_MEAN, other, metric) if down else (other, _MEAN, metric)
                for target in targets:
                    place = (target, other, metric) if down else (other, target, metric)
                    if place in self.figures:
                        lines.setdefault(mean, {})[target] = self.figures[place]
            means, kept[metric] = mean_over(lines)
            self.figures |= means
        if not any(kept.values()):
            self.notes.append("Without a mean: no data set was measured throughout.")
            return
        if any(set(names) != set(targets) for names in kept.values()):
            self.notes += told("measured on", {"": kept}, mean=True)
        targets.append(_MEAN)

    def text(self, name: str, variant: str) -> TextTable:
        """The table as it is set, of one variant or of all (with "")."""
        best = self._best()
        rows, records = [], []
        for row in self.rows:
            cells: list[tuple[Entry, ...]] = [(Entry(row),)]
            for column in self.columns:
                places = [(row, column, metric) for metric in self.table.metrics]
                figures = [(place, self.figures.get(place)) for place in places]
                entries = [entry(figure, place in best) if figure else Entry(ABSENT) for place, figure in figures]
                texts = {e.text for e in entries}
                once = texts in ({FAILED}, {UNDEFINED})
                cells.append(() if texts == {ABSENT} else tuple(entries[:1] if once else entries))
                for place in places:
                    key = {self.table.rows: row, self.table.columns: column, "metric": place[2]}
                    of = {"variant": variant} if variant else {}
                    records.append(of | key | numbers(self.figures.get(place)) | {"best": place in best})
            rows.append(tuple(cells))
        titles = ", ".join(METRIC_TITLES[metric] for metric in self.table.metrics)
        about = f"{titles}, in percent; {_ALL[self.table.rows]} (rows) by {_ALL[self.table.columns]} (columns)."
        return TextTable(
            name,
            f"{variant}: {about}" if variant else sentence(about),
            (_ONE[self.table.rows], *self.columns),
            tuple(rows),
            1,
            (*self._legend(bool(best)), *self.notes),
            tuple(records),
        )

    def _best(self) -> set[Place]:
        """Where the highest figures of each data set are, to the decimal that is shown."""
        across = self.table.columns != "target"
        best: set[Place] = set()
        for metric in self.table.metrics:
            for line in self.rows if across else self.columns:
                others = self.columns if across else self.rows
                places = [(line, other, metric) if across else (other, line, metric) for other in others]
                compared = {
                    p: round(s.mean, 1)
                    for p in places
                    if (s := self.figures.get(p)) and s.complete and s.mean is not None
                }
                if len(compared) > 1:
                    best |= {place for place, mean in compared.items() if mean == max(compared.values())}
        return best

    def _legend(self, bold: bool) -> Iterator[str]:
        places = [
            (row, column, metric) for row in self.rows for column in self.columns for metric in self.table.metrics
        ]
        yield from legend([self.figures.get(place) for place in places], self.study)
        if bold:
            yield f"Bold: the best of each {'column' if self.table.columns == 'target' else 'row'}."
