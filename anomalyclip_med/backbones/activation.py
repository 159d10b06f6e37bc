"""Which activation the weights were trained with, and how that is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from anomalyclip_med.errors import WeightsError


class Activation(StrEnum):
    """The MLP activation of a CLIP.

    OpenAI trained with QuickGELU, ``x * sigmoid(1.702 * x)``; most of OpenCLIP's own weights with the exact
    GELU. No tensor tells them apart, and the wrong one lowers the accuracy without any error.
    """

    QUICK_GELU = "quick_gelu"
    GELU = "gelu"


@dataclass(frozen=True)
class Evidence:
    """One thing that says which activation the weights need.

    Attributes:
        activation: The activation.
        reason: What says so, worded to stand in an error message ("the file's own code").
    """

    activation: Activation
    reason: str


def decide_activation(evidence: Sequence[Evidence], source: str) -> tuple[Activation, tuple[str, ...]]:
    """Decide the activation from all that is known of it.

    Args:
        evidence: What is known, the caller's wish included.
        source: The weights, for messages.

    Returns:
        The activation and warnings: without evidence OpenAI's QuickGELU is assumed, and said.

    Raises:
        WeightsError: Two pieces of evidence contradict each other.
    """
    if not evidence:
        warning = (
            f"activation-assumed: nothing in {source} tells its activation; OpenAI's quick_gelu is assumed. "
            "Pass activation='quick_gelu' or 'gelu' to settle it."
        )
        return Activation.QUICK_GELU, (warning,)
    first = evidence[0]
    for other in evidence[1:]:
        if other.activation != first.activation:
            raise WeightsError(
                f"{source}: {first.reason} says {first.activation}, but {other.reason} says "
                f"{other.activation}; the wrong activation gives wrong scores without any error. Remove the "
                "one that is wrong."
            )
    return first.activation, ()
