"""A broker of a test's own, without a lab around it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab_services.servers.nats import SERVER

SECONDS = 10.0


@contextmanager
def broker_alone(folder: Path) -> Iterator[str]:
    """Run a broker that keeps its files in `folder`, and give its address."""
    command, _ = SERVER.command(SERVER.find(), folder, 0)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + SECONDS
        while (found := SERVER.address(folder, process.pid, 0)) is None and time.monotonic() < until:
            time.sleep(0.01)
        assert found, f"no broker after {SECONDS:g} s"
        yield found
    finally:
        process.kill()
        process.wait()
