"""The page of a study with its tables and figures, and the files of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from anomalyclip_med.studies.config import Study
from anomalyclip_med.studies.figures import matrix_figure
from anomalyclip_med.studies.results import MEAN, Result
from anomalyclip_med.studies.summary import Key, Summary, axis_labels, summarise, summary_rows
from anomalyclip_med.studies.tables import study_tables
from anomalyclip_med.studies.typeset import TextTable, comma_separated, escape_markdown, latex, markdown
from anomalyclip_med.studies.wording import METRIC_TITLES, sentence
from anomalyclip_med.writers.files import replaced


def write_report(study: Study, results: Sequence[Result], folder: Path) -> None:
    """Write ``report.md`` and what stands in it.

    ``summary.csv`` has the mean and the standard deviation of each figure, in percent. Of each table there are CSV and
    LaTeX, of each figure PNG. Sheets of maps that lie in the folder, see :func:`sheet_file`, are shown as well.

    Args:
        study: what was wished for.
        results: what there is of it.
        folder: that exists.

    Raises:
        ConfigurationError: the results are not of this study.
    """
    found = summarise(results, study)
    tables = study_tables(study, found)
    measured = {key.metric for key, summary in found.items() if summary.state != "undefined"}
    pictures = {}
    for metric in study.matrix:
        if metric in measured:
            name = f"matrix_{metric}.png"
            matrix_figure(metric, study, found).savefig(folder / name, dpi=120)
            pictures[name] = (
                f"{sentence(METRIC_TITLES[metric])} in percent by what was learned from and measured on; hatched where "
                "there is no figure, framed where the target was learned from, † where seeds are missing"
            )
    for target in axis_labels("target", study, ()):
        if (folder / sheet_file(target)).exists():
            pictures[sheet_file(target)] = (
                f"Images of {target} with the maps of the methods, each after its first training, and its first "
                "tuning if it has any, on a scale of its own, told by the bar below"
            )
    texts = {"summary.csv": comma_separated(summary_rows(found, study))}
    for table in tables:
        texts |= {
            f"{table.name}.csv": comma_separated(table.records),
            f"{table.name}.tex": latex(table, f"tab:{study.name}_{table.name}"),
        }
    texts["report.md"] = report(study, results, found, tables, pictures)
    for name, text in texts.items():
        with replaced(folder / name) as file:
            file.write(text)


def sheet_file(target: str) -> str:
    """Name of the file with the sheet of maps of a target."""
    return f"sheet_{target}.png"


def report(
    study: Study,
    results: Sequence[Result],
    found: Mapping[Key, Summary],
    tables: Sequence[TextTable],
    pictures: Mapping[str, str],
) -> str:
    """The page as Markdown.

    Args:
        study: whose it is.
        results: for the provenance and the failures.
        found: their figures.
        tables: of these.
        pictures: captions by file name.
    """
    parts = [f"# {study.title}", study.remarks.strip(), "\n".join(_provenance(study, results))]
    parts += ["## Tables"] if tables else ["No figures yet."]
    for number, table in enumerate(tables, 1):
        parts.append(f"**Table {number}** (`{table.name}.csv`, `.tex`). {markdown(table).strip()}")
    parts += ["## Figures"] if pictures else []
    parts += [f"![{caption}]({name})\n\n*{caption}.*" for name, caption in pictures.items()]
    gaps = [*_failures(results), *_missing(found)]
    parts += ["## Failures and gaps", "\n".join(gaps) or "None."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _provenance(study: Study, results: Sequence[Result]) -> Iterator[str]:
    measured = [result for result in results if not result.error]
    clips = dict.fromkeys(f"{result.clip} (SHA-256 {result.clip_sha256[:12]})" for result in measured)
    yield f"- Backbone: {', '.join(clips) or study.profile.clip}"
    untrained = {result.variant for result in measured if not result.trained}
    if untrained:
        names = ", ".join(name for name in study.variants if name in untrained)
        yield f"- Backbone or prompts untrained: {names}"
    else:
        yield "- Trained: all"
    yield f"- Seeds: {', '.join(map(str, study.profile.seeds))}"
    counts: dict[str, dict[str, None]] = {}
    for result in measured:
        if result.class_name == MEAN:
            counts.setdefault(result.target, {})[f"{result.images} ({result.anomalous} abnormal)"] = None
    targets = [f"{name} {' or '.join(counts[name])}" for name in axis_labels("target", study, ()) if name in counts]
    yield f"- Images: {'; '.join(targets)}"
    yield f"- anomalyclip_med {', '.join(dict.fromkeys(result.package_version for result in results))}"


def _failures(results: Sequence[Result]) -> Iterator[str]:
    """A line per reason, as a training that fails takes all its targets with it."""
    seeds: dict[tuple[str, str, str, str], list[int]] = {}
    for result in results:
        if result.error:
            of = (result.variant, result.source, result.target, " ".join(result.error.split()))
            seeds.setdefault(of, []).append(result.seed)
    targets: dict[tuple[str, str, str, str], list[str]] = {}
    for (variant, source, target, error), of_target in seeds.items():
        told = ", ".join(map(str, of_target))
        targets.setdefault((variant, source, told, error), []).append(target)
    for (variant, source, told, error), of_error in targets.items():
        where = f"learned from {source}, seed {told}, measured on {', '.join(of_error)}"
        yield f"- **{escape_markdown(variant)}**, {where}: {escape_markdown(error)}"


def _missing(found: Mapping[Key, Summary]) -> Iterator[str]:
    """A line per cell that has some seeds, and lacks others that did not fail."""
    lacking: dict[tuple[str, str, str], set[int]] = {}
    for cell, summary in found.items():
        if summary.state == "partial" and not summary.undefined:
            lacking.setdefault(cell[:3], set()).update(summary.seeds - set(summary.values) - summary.failed)
    for (variant, source, target), seeds in lacking.items():
        if seeds:
            names = ", ".join(map(str, sorted(seeds)))
            where = f"learned from {source}, measured on {target}"
            yield f"- **{escape_markdown(variant)}**, {where}: no results of seed {names}"
