"""From slice scores to the score of a series, from image scores to that of a patient."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import numpy as np

from anomalyclip_med.errors import ConfigurationError

_RULE = re.compile(r"max|top[1-9]\d*|p\d+(\.\d+)?")


def check_aggregation(rule: str) -> str:
    """Return an aggregation rule, if it is one.

    Args:
        rule: see :func:`aggregate`.

    Raises:
        ConfigurationError: it is none.

    Examples:
        >>> from anomalyclip_med.inferers import check_aggregation
        >>> check_aggregation("top3")
        'top3'
        >>> check_aggregation("mean")
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: aggregation='mean' is unknown: use max, ...
    """
    if not _RULE.fullmatch(rule) or (rule[0] == "p" and float(rule[1:]) > 100):
        raise ConfigurationError(f"aggregation={rule!r} is unknown: use max, top3 (mean of the highest 3) or p95")
    return rule


def aggregate(scores: Iterable[float], rule: str = "max") -> float:
    """One score for many.

    Args:
        scores: in [0, 1]; NaN stands for a slice or series that could not be scored and is passed over.
        rule: "max", because one abnormal slice makes a series abnormal; "top3", the mean of the highest 3, or of all
            where they are fewer; "p95", their 95th percentile. Likewise with other numbers.

    Returns:
        The score, NaN where there is nothing to take it of.

    Raises:
        ConfigurationError: the rule is unknown.

    Examples:
        >>> from anomalyclip_med.inferers import aggregate
        >>> scores = [0.25, 0.5, 1.0, float("nan")]
        >>> aggregate(scores), aggregate(scores, "top2"), aggregate(scores, "p50")
        (1.0, 0.75, 0.5)
    """
    known = np.sort([s for s in scores if not math.isnan(s)])
    if check_aggregation(rule) and not len(known):
        return math.nan
    if rule == "max":
        return float(known[-1])
    if rule.startswith("top"):
        return float(known[-int(rule[3:]) :].mean())
    return float(np.percentile(known, float(rule[1:])))
