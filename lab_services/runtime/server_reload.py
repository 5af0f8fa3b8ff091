"""A server reads its configuration again while it runs, by SIGHUP or by POST /-/reload, which says whether it could.

Plain asyncio streams, as in readiness.py.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lab_services.errors import LabError, PrometheusRefuses, UnknownName
from lab_services.runtime import states
from lab_services.runtime.readiness import connect

if TYPE_CHECKING:
    from lab_services.runtime.replica import Replica
    from lab_services.runtime.service import Service

SECONDS = 10.0
LARGEST_BYTES = 64 * 1024
RELOADS = ("nats", "prometheus", "alertmanager")  # on SIGHUP, and they keep every connection


def hang_up(service: Service) -> None:
    """Ask a server to read its configuration again (SIGHUP), without a restart; it obeys a little later.

    Raises:
        UnknownName: it is no server that can.
    """
    if service.spec.kind != "server" or service.spec.target not in RELOADS:
        raise UnknownName(
            f"{service.name} cannot read its configuration again while it runs",
            where=service.name,
            evidence="servers that can: " + ", ".join(RELOADS),
            next_step=f'lab.restart("{service.name}")',
        )
    for replica in service.replicas:
        if replica.process is not None and replica.state == states.READY:
            replica.process.signal(signal.SIGHUP)


async def take_edit_of_server(service: Service, program: Callable[[Service, Replica], object]) -> None:
    """Let a server obey what is saved, by a restart where it cannot while it runs; its log says what it refuses.

    `program` writes the configuration of a replica anew.

    Raises:
        LabError: it cannot run what is saved; what ran goes on.
    """
    from lab_services.servers import find_server

    try:
        if service.state != states.READY or not find_server(service.spec.target).reloads:
            return await service.restart()
        for replica in service.replicas:
            program(service, replica)
            await _reload(service.name, replica.url, service.spec.config)
    except LabError as error:
        service.log.say(str(error))
        raise


async def _reload(name: str, url: str, file: str) -> None:
    """Ask the server `name` at `url` to read its configuration again; `file` is the learner's part of it.

    Raises:
        PrometheusRefuses: it goes on with what it had: its own words, or that it did not answer.
    """
    try:
        status, said = await asyncio.wait_for(_post(url), SECONDS)
    except (TimeoutError, OSError, ValueError) as error:
        status, said = 0, f"no answer to POST {url}/-/reload: {error!r}"
    if status != 200:
        raise PrometheusRefuses(
            f"{name} does not take what is saved in {file}",
            where=file,
            evidence=said.strip(),
            next_step=f"mend {file} and save it",
        )


async def _post(url: str) -> tuple[int, str]:
    place = urlsplit(url).netloc
    reader, writer = await connect(place)
    try:
        head = f"POST /-/reload HTTP/1.1\r\nHost: {place}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        answer = b""
        while len(answer) < LARGEST_BYTES and (more := await reader.read(LARGEST_BYTES)):
            answer += more
    finally:
        writer.transport.abort()
    first, _, rest = answer.decode("utf-8", "backslashreplace").partition("\r\n")
    return int(first.split()[1]) if len(first.split()) > 1 else 0, rest.partition("\r\n\r\n")[2]
