"""Work in a thread beside the caller: its order, its bound, its errors."""

from __future__ import annotations

import threading

import pytest

from anomalyclip_med.engines.worker import Worker


def test_pieces_are_done_in_their_order_and_beside_the_caller() -> None:
    worker, gate, done = Worker(ahead=3), threading.Event(), []
    worker.submit(lambda: done.append(gate.wait(60)))
    for number in range(2):
        worker.submit(done.append, number)
    assert done == []  # three pieces wait, and the caller goes on
    gate.set()
    worker.wait()
    assert done == [True, 0, 1]


def test_the_caller_waits_when_it_is_too_far_ahead() -> None:
    worker, gate = Worker(ahead=1), threading.Event()
    worker.submit(gate.wait, 60)
    caller = threading.Thread(target=worker.submit, args=(int,))
    caller.start()
    caller.join(0.2)
    assert caller.is_alive()
    gate.set()
    caller.join(60)
    assert not caller.is_alive()
    worker.wait()


def test_after_an_error_nothing_is_done_and_the_caller_hears_of_it() -> None:
    worker, gate, done = Worker(ahead=2), threading.Event(), []

    def fail() -> None:
        gate.wait(60)
        raise OSError("no room")

    worker.submit(fail)
    worker.submit(done.append, 1)
    gate.set()
    with pytest.raises(OSError, match="no room"):
        worker.submit(done.append, 2)
    worker.wait()
    assert done == []
