"""What takes minutes and leaves much of the machine alone begins with the first test and goes on beside the others.

A test asks `AHEAD.result` for it. When it has not been begun, because few tests were asked for, it is done then.
`AHEAD.take_back` forgets those jobs of a kind whose turn has not come, when more of them can be done at once.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")
WORKERS = 2  # beside the tests themselves; each of the three waits more than it works


def done_here(job: Callable[..., T], *args: Any) -> Future[T]:
    """Do a job now, and return what came of it, an error too, as whoever has begun it elsewhere would get it."""
    done: Future[T] = Future()
    try:
        done.set_result(job(*args))
    except Exception as error:
        done.set_exception(error)
    return done


class Ahead:
    """Jobs that processes of their own do, in the order in which they were begun."""

    def __init__(self, workers: int = WORKERS) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._jobs: dict[Hashable, Future[Any]] = {}

    def begin(self, job: Callable[..., Any], *args: Hashable) -> None:
        """Begin a job, unless it has been; it is a function of a module, with arguments that can be pickled."""
        if (job, args) not in self._jobs:
            self._pool = self._pool or ProcessPoolExecutor(self._workers, multiprocessing.get_context("spawn"))
            self._jobs[job, args] = self._pool.submit(job, *args)

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


AHEAD = Ahead()
