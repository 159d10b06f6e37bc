"""What `python -m monai.bundle run` says last, after an error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import TracebackType

from anomalyclip_med.errors import own_cause

_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


def repeat_errors() -> None:
    """Have the sentence of an error repeated below the traceback that ends a process.

    Called by a bundle's ``initialize``. MONAI wraps what a component raises: the one sentence that a user needs stands
    fifty lines above the end.

    Examples:
        >>> import sys
        >>> from anomalyclip_med.engines import repeat_errors
        >>> repeat_errors()
        >>> sys.excepthook.args  # what is called first
        (<built-in function excepthook>,)
    """
    before = sys.excepthook
    if getattr(before, "func", None) is not _show:
        sys.excepthook = partial(_show, before)


def _show(before: _Hook, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    before(kind, error, traceback)
    cause = own_cause(error)
    if cause not in (None, error):
        print(f"\nanomalyclip_med: {cause}", file=sys.stderr)
