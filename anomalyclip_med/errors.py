"""The project's own errors: every failure that a user can mend is one of these.

A message names the file, says what is wrong and what to do, and never holds a patient's name or ID.
"""

from __future__ import annotations


class AnomalyClipMedError(Exception):
    """Base of every error that this package raises on purpose."""


def own_cause(error: BaseException) -> AnomalyClipMedError | None:
    """The error of this package that another was raised from, or is itself; MONAI wraps what a component raises."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, AnomalyClipMedError):
        cause = cause.__cause__
    return cause


class WeightsError(AnomalyClipMedError):
    """Backbone weights or prompts are missing, damaged, unsafe or do not fit."""


class ScanError(AnomalyClipMedError):
    """A scan, or a part of it, cannot be read."""


class NotAScanError(ScanError):
    """A file is in order, but holds no image: a text, a report, a segmentation."""


class ConfigurationError(AnomalyClipMedError):
    """An option or configuration value is unknown or makes no sense."""


class TrainingError(AnomalyClipMedError):
    """Training has come to where nothing more can be learned."""


class MetricError(AnomalyClipMedError):
    """A metric is undefined for the data it was given."""
