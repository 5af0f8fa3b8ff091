"""Open-loop load: arrivals at a fixed rate, planned ahead, whether the city keeps up or not.

Each latency runs from the moment at which the arrival was *due*, not from the moment at which it was sent. So a city
that stalls for a second shows it in every arrival of that second (no "coordinated omission": G. Tene, HdrHistogram).
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hdrh.histogram import HdrHistogram

if TYPE_CHECKING:
    from lab_services.bikeshare.latency_picture import LatencyPicture

MOST_ARRIVALS = 50_000
MOST_IN_FLIGHT = 200
LIMIT_SECONDS = 10.0  # an arrival that has no answer by then has failed
SETTLE_SECONDS = 5.0
BUSY_MS = 50.0  # the sender woke up this much too late: its own machine was the bottleneck
SHOWN = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0)
T = TypeVar("T")


@dataclass(frozen=True)
class LoadReport:
    """What became of each arrival. Latencies are milliseconds from the due moment, of all arrivals, failed ones too."""

    title: str
    rate: float
    sent: int
    succeeded: int
    by_status: Mapping[str, int]
    curve: tuple[tuple[float, float], ...]  # (percentile, milliseconds)
    late_ms: float  # the latest that the sender itself was
    per_second: float  # answers that were a success, from the first arrival to the last answer
    milliseconds: tuple[float, ...]  # the latency of each arrival, in the order in which they were due

    noun: ClassVar[str] = "requests"

    @property
    def failed(self) -> int:
        return self.sent - self.succeeded

    @property
    def success_share(self) -> float:
        return self.succeeded / self.sent

    @property
    def p50_ms(self) -> float:
        return dict(self.curve)[50.0]

    @property
    def p90_ms(self) -> float:
        return dict(self.curve)[90.0]

    @property
    def p99_ms(self) -> float:
        return dict(self.curve)[99.0]

    def rows(self) -> list[tuple[str, str]]:
        """Return the facts of the report as (name, value), the same in every form of it."""
        share = int(self.success_share * 1000) / 10  # rounded down: 100 % means every one
        facts = [(f"{self.noun} sent", f"{self.sent} at {self.rate:g} a second")]
        facts += [("succeeded", f"{self.succeeded} ({share:g} %)"), ("failed", str(self.failed))]
        facts += [(f"answered {status}", str(count)) for status, count in sorted(self.by_status.items())]
        facts += [(f"p{percentile}", f"{dict(self.curve)[percentile]:.1f} ms") for percentile in (50, 90, 99)]
        facts += [("slowest", f"{self.curve[-1][1]:.1f} ms")]
        if self.late_ms > BUSY_MS:
            facts += [("beware", f"the sender itself was up to {self.late_ms:.0f} ms late: this machine is busy")]
        return facts

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        return "\n".join([self.title, *(f"  {name:<{width}}  {value}" for name, value in self.rows())])

    def _repr_html_(self) -> str:
        edge = "border-bottom: 1px solid var(--jp-border-color2, #bdbdbd)"
        rows = "".join(
            f'<tr style="{edge}"><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in self.rows()
        )
        return (
            '<table style="color: var(--jp-ui-font-color1, #212121); text-align: left">'
            f"<caption>{escape(self.title)}</caption>"
            '<thead><tr><th scope="col">Measure</th><th scope="col">Value</th></tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )

    def picture(self) -> LatencyPicture:
        """Draw the latency at each percentile; the picture has its text twin."""
        from lab_services.bikeshare.latency_picture import LatencyPicture  # matplotlib takes half a second to import

        return LatencyPicture(self.title, self.noun, self.curve)


@dataclass(frozen=True)
class Arrival:
    """How one arrival went: its answer in a word, whether that is a success, and its times in seconds.

    `seconds` and `late` count from the moment it was due, `ended` from the moment the first one was.
    """

    status: str
    succeeded: bool
    seconds: float
    late: float
    ended: float


async def arrive(
    count: int,
    rate: float,
    send: Callable[[int], Awaitable[int]],
    *,
    in_flight: int = MOST_IN_FLIGHT,
    limit: float = LIMIT_SECONDS,
) -> list[Arrival]:
    """Let `count` arrivals happen, one each 1/rate seconds. `send(number)` returns the HTTP status it got.

    At most `in_flight` are under way; one that has to wait for its turn waits at its own expense.
    """
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(in_flight)
    begin = loop.time() + 0.01

    async def one(number: int) -> Arrival:
        due = begin + number / rate
        await asyncio.sleep(due - loop.time())
        late = loop.time() - due
        status, succeeded = "time-out", False
        try:
            async with asyncio.timeout_at(due + limit), gate:
                code = await send(number)
                status, succeeded = str(code), 200 <= code < 400
        except TimeoutError:
            pass
        except Exception as error:  # a broken connection, or an answer that is not what was promised
            status = type(error).__name__
        now = loop.time()
        return Arrival(status, succeeded, now - due, late, now - begin)

    return list(await asyncio.gather(*(one(number) for number in range(count))))


def arrivals(rate: float, seconds: float) -> int:
    """Return how many arrivals a rate means, or refuse what no machine of a learner can send."""
    if not (rate > 0 and seconds > 0 and 1 <= rate * seconds <= MOST_ARRIVALS):
        raise ValueError(f"rate * seconds must be from 1 to {MOST_ARRIVALS} arrivals, not {rate} * {seconds}")
    return round(rate * seconds)


def measure(arrived: list[Arrival]) -> dict[str, Any]:
    """Sum up arrivals as the fields of a LoadReport."""
    histogram = HdrHistogram(1, 3_600_000_000, 3)  # microseconds up to one hour, three digits
    for each in arrived:
        histogram.record_value(max(1, round(each.seconds * 1e6)))
    return {
        "sent": len(arrived),
        "succeeded": sum(each.succeeded for each in arrived),
        "by_status": dict(Counter(each.status for each in arrived)),
        "curve": tuple((share, histogram.get_value_at_percentile(share) / 1000) for share in SHOWN),
        "late_ms": max(each.late for each in arrived) * 1000,
        "per_second": sum(each.succeeded for each in arrived) / max(each.ended for each in arrived),
        "milliseconds": tuple(each.seconds * 1000 for each in arrived),
    }


def run_in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a thread of its own: in a notebook this thread already has an event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="load", daemon=True)
    thread.start()
    try:
        return asyncio.run_coroutine_threadsafe(work, loop).result()
    finally:  # also when the learner interrupts the cell
        asyncio.run_coroutine_threadsafe(_cancel_the_rest(), loop).result(SETTLE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _cancel_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
