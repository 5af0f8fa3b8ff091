"""What takes minutes and leaves much of the machine alone begins with the first test and goes on beside the others.

A test asks `AHEAD.result` for it. When it has not been begun, because few tests were asked for, it is done then. Jobs
`behind` the others come when those are done; `AHEAD.take_back` forgets what is left of them when the time has come to
do several at once.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

T = TypeVar("T")
_spawn = multiprocessing.get_context("spawn")


def done_here(job: Callable[..., T], *args: Any) -> Future[T]:
    """Do a job now, and return what came of it, an error too, as whoever has begun it elsewhere would get it."""
    done: Future[T] = Future()
    try:
        done.set_result(job(*args))
    except Exception as error:
        done.set_exception(error)
    return done


class Ahead:
    """Jobs that a process of their own does, one after the other, in the order in which they were begun.

    Those behind them are done by a second process, which begins when the first has done all that was begun.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._behind: ProcessPoolExecutor | None = None
        self._gate: Event | None = None  # open when only jobs behind the others are left
        self._jobs: dict[Hashable, Future[Any]] = {}
        self._before: set[Future[Any]] = set()

    def begin(self, job: Callable[..., Any], *args: Hashable, behind: bool = False) -> None:
        """Begin a job, unless it has been; it is a function of a module, with arguments that can be pickled."""
        if (job, args) in self._jobs:
            return
        if behind:
            self._gate = self._gate or _spawn.Event()
            self._behind = self._behind or ProcessPoolExecutor(1, _spawn, _wait_at, [self._gate])
            self._jobs[job, args] = self._behind.submit(job, *args)
            self._open()
        else:
            self._pool = self._pool or ProcessPoolExecutor(1, _spawn)
            self._jobs[job, args] = done = self._pool.submit(job, *args)
            self._before.add(done)
            done.add_done_callback(self._open)

    def _open(self, _: object = None) -> None:
        if self._gate is not None and all(done.done() for done in tuple(self._before)):
            self._gate.set()

    def result(self, job: Callable[..., T], *args: Hashable) -> T:
        """Return what a job returns, or raise what it raises; each job is done once."""
        if (job, args) not in self._jobs:
            self._jobs[job, args] = done_here(job, *args)
        done: T = self._jobs[job, args].result()
        return done

    def begun(self, job: Callable[..., T], *args: Hashable) -> Future[T] | None:
        """Return what is to come of a job, None where it has not been begun or was taken back."""
        return self._jobs.get((job, args))

    def take_back(self, job: Callable[..., Any]) -> None:
        """Forget all of one kind whose turn has not come; with whatever arguments."""
        self._jobs = {key: done for key, done in self._jobs.items() if key[0] is not job or not done.cancel()}

    def wait(self) -> None:
        """Wait until all that has been begun is done, for those who need the machine for themselves."""
        wait(self._jobs.values())

    def close(self) -> None:
        """Begin no more; return when what is being done has ended."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._gate is not None and self._behind is not None:
            self._gate.set()
            self._behind.shutdown(cancel_futures=True)


def _wait_at(gate: Event) -> None:
    gate.wait()


AHEAD = Ahead()
