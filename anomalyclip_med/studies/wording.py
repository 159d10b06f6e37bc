"""How figures, their gaps and what they are means of are put into words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from anomalyclip_med.studies.config import Study
from anomalyclip_med.studies.summary import Summary
from anomalyclip_med.studies.typeset import Entry

METRIC_TITLES: dict[str, str] = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pixel_aupro": "AUPRO",
    "pixel_aupro_reference": "AUPRO (200 thresholds)",
}
FAILED, UNDEFINED, ABSENT = "failed", "n/a", "-"


def entry(summary: Summary, bold: bool = False, sign: bool = False) -> Entry:
    """Mean ± standard deviation, or why there is none; a dagger marks missing seeds."""
    if summary.mean is None:
        return Entry(UNDEFINED if summary.state == "undefined" else FAILED)
    text = signed(summary.mean) if sign else f"{summary.mean:.1f}"
    if summary.deviation is not None:
        text += f" ± {summary.deviation:.1f}"
    return Entry(text, bold, "†" if summary.state == "partial" else "")


def signed(percent: float) -> str:
    """A difference or change, with its sign; zero has a plus."""
    return f"{percent:+z.1f}"


def sentence(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def legend(shown: Collection[Summary | None], study: Study) -> Iterator[str]:
    """What the signs in a table mean, of those that occur; None is an empty cell."""
    known = [summary for summary in shown if summary is not None]
    if any(summary.deviation is not None for summary in known):
        seeds = ", ".join(map(str, study.profile.seeds))
        yield f"Mean ± standard deviation (n - 1) over the seeds {seeds}; without ±, of one seed."
    if any(summary.state == "partial" for summary in known):
        yield "† Fewer seeds than the study has: left out of means over data sets, and never bold."
    if any(summary.state == "undefined" for summary in known):
        yield f"{UNDEFINED}: the metric is undefined there."
    if any(summary.state == "failed" for summary in known):
        yield f"{FAILED}: see the list of failures."
    if None in shown:
        yield f"Empty, or {ABSENT}: not measured, or nothing in common with the others."


def told(verb: str, kept: Mapping[str, Mapping[str, tuple[str, ...]]], mean: bool = False) -> Iterator[str]:
    """What figures are of, or means over, as one sentence.

    Args:
        verb: "learned from" or "measured on".
        kept: the data sets, by group of cells ("" for all) and metric.
        mean: whether it is a mean even over one data set.
    """
    sets = [names for metrics in kept.values() for names in metrics.values()]
    if len(set(sets)) == 1:
        kept = {"": next(iter(kept.values()))}
    parts = []
    for group, metrics in kept.items():
        same = len(set(metrics.values())) == 1
        for metric, names in metrics.items():
            place = " ".join(filter(None, (group, "" if same else METRIC_TITLES[metric])))
            parts.append(f"{place}: " * bool(place) + (", ".join(names) or "nothing that all have"))
    if parts:
        mean = mean or any(len(names) > 1 for names in sets)
        begin = f"Mean over what was {verb}:" if mean else verb.capitalize()
        yield f"{begin} {'; '.join(dict.fromkeys(parts))}."
