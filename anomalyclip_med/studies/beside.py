"""Tables of our figures beside published ones: of the same training, and of the paper's ablations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from string import ascii_uppercase

from anomalyclip_med.data.datasets import data_set
from anomalyclip_med.published import PublishedFigure, published_figures
from anomalyclip_med.studies.config import Study
from anomalyclip_med.studies.summary import Key, Summary, axis_labels, mean_over, members, numbers, rounded
from anomalyclip_med.studies.typeset import Entry, TextTable
from anomalyclip_med.studies.wording import METRIC_TITLES, entry, legend, sentence, signed, told

LEVELS: dict[str, tuple[str, ...]] = {"image": ("image_auroc", "image_ap"), "pixel": ("pixel_auroc", "pixel_aupro")}
"""The metrics that are published of images and of pixels."""
_OURS = {metric: metric for metric in METRIC_TITLES} | {"pixel_aupro": "pixel_aupro_reference"}
"""What a published metric compares with: the authors' AUPRO is that of 200 thresholds."""
_ABLATED = "mvtec"
"""The data set that the paper's ablation tables are of."""
_AUPRO = "AUPRO is that of the authors' 200 thresholds."


def published_table(study: Study, found: Mapping[Key, Summary], level: str) -> TextTable | None:
    """Our figures beside those that were published of the same data set, method and training set.

    Args:
        study: whose variants say under which method they were published.
        found: ours.
        level: "image" or "pixel".

    Returns:
        None where nothing was published of what was measured.
    """
    metrics = LEVELS[level]
    rows, records, shown = [], [], []
    letters: dict[str, str] = {}
    marks: dict[str, str] = {}
    for variant, source, target in _trained_and_measured(study, found):
        printed: dict[str, dict[str, PublishedFigure]] = {}
        for figure in _published(study, variant, source, target):
            if figure.metric in metrics and Key(variant, source, target, _OURS[figure.metric]) in found:
                printed.setdefault(figure.source, {})[figure.metric] = figure
        for printed_in, figures in printed.items():
            cells: list[tuple[Entry, ...]] = [(Entry(target),), (Entry(variant),), (Entry(source),)]
            for metric in metrics:
                if metric not in figures:
                    cells += [(), (), ()]
                    continue
                published = figures[metric]
                ours = found[Key(variant, source, target, _OURS[metric])]
                shown.append(ours)
                mark = marks.setdefault(published.remark, str(len(marks) + 1)) if published.remark else ""
                difference = None if ours.mean is None else ours.mean - published.percent
                told_difference = () if difference is None else (Entry(signed(difference)),)
                cells += [(entry(ours),), (Entry(f"{published.percent:.1f}", mark=mark),), told_difference]
                records.append(
                    {"target": target, "variant": variant, "source": source, "metric": metric}
                    | numbers(ours)
                    | {"published": published.percent, "difference": rounded(difference)}
                    | {"published_in": printed_in, "remark": published.remark}
                )
            letter = letters.setdefault(printed_in, ascii_uppercase[len(letters)])
            rows.append((*cells, (Entry(letter),)))
    if not rows:
        return None
    titles = [METRIC_TITLES[metric] for metric in metrics]
    return TextTable(
        f"published_{level}",
        sentence(f"{' and '.join(titles)}, in percent, beside the published figures."),
        ("measured on", "method", "learned from", *(h for t in titles for h in (t, "published", "difference")), "in"),
        tuple(rows),
        3,
        (
            *legend(shown, study),
            *([_AUPRO] if level == "pixel" else []),
            "Published figures are of the whole sets with their authors' backbone: a difference tells something where "
            "images and backbone are the same. What nobody published is left out.",
            *(f"{letter}: {printed_in}." for printed_in, letter in letters.items()),
            *(f"[{mark}] {sentence(remark)}." for remark, mark in marks.items()),
        ),
        tuple(records),
    )


def effects_table(study: Study, found: Mapping[Key, Summary]) -> TextTable | None:
    """Variants with figures of the paper's ablations: ours, the paper's, and the changes from the first of them.

    Both are of MVTec AD alone. The change is what can be compared where the figures cannot, with another backbone or
    other images.

    Returns:
        None for fewer than two such variants, and where MVTec AD was not measured.
    """
    registered = _registered(study)
    found = {cell: summary for cell, summary in found.items() if registered[cell.target] == _ABLATED}
    rows, records, shown, judged = [], [], [], []
    kept: dict[str, dict[str, tuple[str, ...]]] = {}
    for metric, title in METRIC_TITLES.items():
        papers = {name: variant.paper[metric] for name, variant in study.variants.items() if metric in variant.paper}
        ours, learned_from, measured_on = _overall(found, _OURS[metric], papers)
        if len(papers) < 2 or not ours:
            continue
        kept.setdefault("learned from", {})[metric] = learned_from
        kept.setdefault("measured on", {})[metric] = measured_on
        first = next(iter(papers))
        for name, paper in papers.items():
            figure = ours.get(name)
            shown.append(figure)
            change = figure.minus(ours[first]) if figure and name != first and first in ours else None
            theirs = paper - papers[first]
            same = _same_direction(change, theirs) if change else ""
            judged += [same] if same else []
            rows.append(
                (
                    (Entry(title if name == first else ""),),
                    (Entry(name),),
                    (entry(figure),) if figure else (),
                    (Entry(f"{paper:.1f}"),),
                    (entry(change, sign=True),) if change and change.mean is not None else (),
                    (Entry(signed(theirs)),) if name != first else (),
                    (Entry(same),),
                )
            )
            records.append(
                {"metric": metric, "variant": name}
                | numbers(figure)
                | {"change": rounded(change.mean) if change else None}
                | {"change_sd": rounded(change.deviation) if change else None}
                | {"paper": paper, "paper_change": rounded(theirs), "same_direction": same}
            )
    if not rows:
        return None
    unclear = f", {judged.count('unclear')} unclear" if "unclear" in judged else ""
    return TextTable(
        "effects",
        "Ablations beside the paper's, on MVTec AD, in percent.",
        ("metric", "method", "ours", "paper", "our change", "paper's change", "same direction"),
        tuple(rows),
        2,
        (
            *legend(shown, study),
            *([_AUPRO] if any(record["metric"] == "pixel_aupro" for record in records) else []),
            *(note for verb, names in kept.items() for note in told(verb, {"": names})),
            "Changes are from the first row of the metric, ours seed by seed.",
            f"In the paper's direction: {judged.count('yes')} of {len(judged)} changes{unclear}. Unclear: smaller than "
            "its standard deviation over the seeds.",
        ),
        tuple(records),
    )


def _trained_and_measured(study: Study, found: Mapping[Key, Summary]) -> list[tuple[str, str, str]]:
    """Variant, source and target of the figures, by target, then variant."""
    places = {cell[:3] for cell in found}
    targets, variants, sources = (axis_labels(axis, study, found) for axis in ("target", "variant", "source"))
    return [(v, s, t) for t in targets for v in variants for s in sources if (v, s, t) in places]


def _published(study: Study, variant: str, source: str, target: str) -> list[PublishedFigure]:
    """What was published of a data set by a method after the same training, which is named by what it was tuned on."""
    registered = _registered(study)
    trained_on = registered.get(last := members(source)[-1], last)
    wanted = (registered[target], study.variants[variant].published, trained_on)
    return [figure for figure in published_figures() if (figure.dataset, figure.method, figure.trained_on) == wanted]


def _registered(study: Study) -> dict[str, str]:
    """The registry's name of each data set of the profile that is not drawn."""
    data = study.profile.data
    return {name: data_set(entry.dataset or name).name for name, entry in data.items() if entry.folder}


def _overall(
    found: Mapping[Key, Summary], metric: str, variants: Collection[str]
) -> tuple[dict[str, Summary], tuple[str, ...], tuple[str, ...]]:
    """The mean of each variant over the sources and the targets that all of them have, and which these are."""
    by_target: dict[str, dict[str, dict[str, Summary]]] = {}
    for cell, summary in found.items():
        if cell.metric == metric and cell.variant in variants and summary.state != "undefined":
            by_target.setdefault(cell.target, {}).setdefault(cell.variant, {})[cell.source] = summary
    lines: dict[str, dict[str, Summary]] = {}
    sources: dict[str, tuple[str, ...]] = {}
    for target, of_target in by_target.items():
        means, sources[target] = mean_over(of_target)
        for variant, summary in means.items():
            lines.setdefault(variant, {})[target] = summary
    means, targets = mean_over(lines)
    return means, tuple(dict.fromkeys(source for target in targets for source in sources[target])), targets


def _same_direction(change: Summary, theirs: float) -> str:
    """Whether two changes have the same sign, to the decimal that is shown; "" where ours is not known."""
    if not change.complete or change.mean is None:
        return ""
    if change.deviation is not None and abs(change.mean) < change.deviation:
        return "unclear"
    ours, theirs = round(change.mean, 1), round(theirs, 1)
    return "yes" if (ours > 0) - (ours < 0) == (theirs > 0) - (theirs < 0) else "no"
