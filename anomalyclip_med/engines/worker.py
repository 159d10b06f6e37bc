"""Work beside the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Worker:
    """Does one piece of work after the other in a thread of its own, in the order in which they come.

    An error ends it: the pieces that follow are left out, and it is raised by the next :meth:`submit` that waits, or by
    :meth:`wait`.

    Args:
        ahead: unfinished pieces with which the caller may go on, which bounds the memory that they hold.
    """

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: deque[Future[None]] = deque()
        self._failed = False

    def submit(self, work: Callable[..., None], *arguments: Any) -> None:
        """Have ``work(*arguments)`` done; waits while more than ``ahead`` pieces are unfinished.

        Raises:
            Exception: whatever an earlier piece raised.
        """
        self._pending.append(self._thread.submit(self._do, work, *arguments))
        self._wait(self._ahead)

    def wait(self) -> None:
        """Wait until all is done.

        Raises:
            Exception: whatever a piece raised.
        """
        self._wait(0)

    def _wait(self, left: int) -> None:
        while len(self._pending) > left:
            self._pending.popleft().result()

    def _do(self, work: Callable[..., None], *arguments: Any) -> None:
        if not self._failed:
            try:
                work(*arguments)
            except BaseException:
                self._failed = True
                raise
