"""From slice scores to the score of a series and of a study."""

from __future__ import annotations

import math
from collections.abc import Iterable


def highest_score(scores: Iterable[float]) -> float:
    """The highest of the scores: one abnormal slice makes a series abnormal, one series a study.

    Args:
        scores: in [0, 1]; NaN stands for a slice or series that could not be scored and is passed over.

    Returns:
        The maximum, NaN where there is nothing to take it of.
    """
    return max((s for s in scores if not math.isnan(s)), default=math.nan)
