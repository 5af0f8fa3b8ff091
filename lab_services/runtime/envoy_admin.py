"""Ask an Envoy's admin page: is it ready, has it refused what it was sent, are calls under way?"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from lab_services.runtime.ports import Port
from lab_services.runtime.readiness import PROBE_SECONDS, connect, http_ready, wait_until

SETTLE_SECONDS = 1.0  # the last answers of an application that has left are passed on within a few milliseconds
_COUNTER = re.compile(r"^([^\s:]+): ([0-9]+)\r?$", re.M)


async def is_ready(admin: Port) -> bool:
    """Say whether Envoy has all its first configuration, accepted or refused, and serves."""
    return await http_ready(admin.url + "/ready")


async def has_refused(admin: Port) -> bool:
    """Say whether Envoy has refused a configuration since it was started."""
    return any((await counters(admin, "update_rejected")).values())


async def settle(admin: Port) -> None:
    """Wait until no call is under way in this Envoy, one second at most."""

    async def quiet() -> bool:
        active = await counters(admin, "downstream_rq_active")
        return not any(count for name, count in active.items() if not name.startswith("http.admin."))

    await wait_until(quiet, SETTLE_SECONDS)


async def counters(admin: Port, part: str) -> dict[str, int]:
    """Return the statistics whose names contain `part`, those that Envoy has touched; nothing when it is silent."""
    with suppress(TimeoutError, OSError):
        text = await asyncio.wait_for(_page(admin, f"/stats?usedonly&filter={part}"), PROBE_SECONDS)
        return {name: int(number) for name, number in _COUNTER.findall(text)}
    return {}


async def _page(admin: Port, path: str) -> str:
    """Return head and body as they came; the sizes of the chunks in between look like no statistic."""
    reader, writer = await connect(admin.target)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {admin.target}\r\nConnection: close\r\n\r\n".encode())
        return (await reader.read()).decode("utf-8", "replace")
    finally:
        writer.transport.abort()
