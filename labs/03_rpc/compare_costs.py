"""What a call costs, each way in one run beside the others; compare_clients.py has the ways.

`python compare_costs.py HTTP_URL GRPC_TARGET HTTP_PID GRPC_PID [TURNS]` prints numbers as JSON. The ways
take turns, a part of a second each: what else the machine does meets all of them.
"""

import asyncio
import cProfile
import json
import statistics
import sys
from contextlib import AsyncExitStack
from time import perf_counter, process_time
from typing import Any

import psutil
from compare_bytes import bodies, codecs, on_the_wire
from compare_clients import LANES, WAYS, Call

TURN_SECONDS, TURNS = 0.1, 5  # so each way is measured for half a second, alone and once more with all lanes
PROFILED = 10  # calls in each lane


class Cost:
    """What a way has cost so far; `server` is the process that answers it."""

    def __init__(self, call: Call, server: psutil.Process) -> None:
        self.call, self.server, self.alone = call, server, []
        self.orders = self.seconds = self.client_seconds = self.server_seconds = 0

    async def turn(self, lanes: int) -> None:
        """Call for a turn in this many lanes; alone each call is timed, together they are counted."""
        own, served, begin = process_time(), busy(self.server), perf_counter()
        counts = await asyncio.gather(*(self._lane(begin + TURN_SECONDS, lanes == 1) for _ in range(lanes)))
        if lanes > 1:
            self.orders += sum(counts)
            self.seconds += perf_counter() - begin
            self.client_seconds += process_time() - own
            self.server_seconds += busy(self.server) - served

    async def _lane(self, end: float, timed: bool) -> int:
        count = 0
        while (began := perf_counter()) < end:
            came = await self.call()
            count += came
            if timed:
                self.alone.append((perf_counter() - began) / came)
        return count

    def numbers(self) -> dict[str, float]:
        """Return microseconds for an order: alone, and of either processor; and orders a second in all lanes."""
        return {
            "microseconds": statistics.median(self.alone) * 1e6,
            "per_second": self.orders / self.seconds,
            "client_microseconds": self.client_seconds / self.orders * 1e6,
            "server_microseconds": self.server_seconds / self.orders * 1e6,
        }


def busy(process: psutil.Process) -> float:
    """Return the seconds of processor time that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


async def costs(addresses: dict[str, str], pids: dict[str, int], turns: int) -> dict[str, dict[str, float]]:
    """Measure all ways, by turns; the first turn only warms up, the last one only counts functions."""
    async with AsyncExitStack() as stack:
        found = {}
        for name, way in WAYS.items():
            call = await stack.enter_async_context(way(addresses[name]))
            found[name] = Cost(call, psutil.Process(pids[name]))
        for cost in found.values():
            await Cost(cost.call, cost.server).turn(LANES)
        for lanes in [1, LANES] * turns:
            for cost in found.values():
                await cost.turn(lanes)
        functions = {name: await functions_called(cost.call) for name, cost in found.items()}
    return {name: {**cost.numbers(), "functions": functions[name]} for name, cost in found.items()}


async def functions_called(call: Call) -> float:
    """Return how many functions, of Python and called by Python, the client calls for one order with all lanes."""

    async def lane() -> int:
        return sum([await call() for _ in range(PROFILED)])

    profile = cProfile.Profile()
    profile.enable()
    orders = sum(await asyncio.gather(*(lane() for _ in range(LANES))))
    profile.disable()
    return sum(entry.callcount for entry in profile.getstats()) / orders


async def everything(url: str, target: str, http_pid: int, grpc_pid: int, turns: int = TURNS) -> dict[str, Any]:
    """Return all numbers by way, and those of the codecs by format."""
    addresses = {name: target if name.startswith("gRPC") else url for name in WAYS}
    pids = {name: grpc_pid if name.startswith("gRPC") else http_pid for name in WAYS}
    ways = await costs(addresses, pids, turns)
    for name, way in WAYS.items():
        ways[name]["wire_bytes"] = await on_the_wire(way, addresses[name])
    return {"ways": ways, "codecs": codecs(), "bodies": bodies()}


if __name__ == "__main__":
    http, target, *numbers = sys.argv[1:]
    print(json.dumps(asyncio.run(everything(http, target, *map(int, numbers)))))
