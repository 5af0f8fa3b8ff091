"""Prometheus: collects the figures of the services. No Python package carries it, so it is looked up on PATH."""

from __future__ import annotations

import sys
from pathlib import Path

from lab_services.runtime.readiness import http_ready
from lab_services.servers import Server, find_program, version_of

CONFIG = """\
# Written by the lab at every start: a change here does not last.
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs: []
"""


def find() -> Path:
    """Return the prometheus on PATH."""
    return find_program("prometheus", "", install_command())


def install_command() -> str:
    """Return what to type on this system; conda-forge has it for Linux and macOS on x86_64."""
    usual = "brew install prometheus" if sys.platform == "darwin" else "sudo apt-get install prometheus"
    return f"{usual}   (or: conda install -c conda-forge prometheus)"


def command(program: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Write prometheus.yml and return the command line; what it measures is kept in `folder`/prometheus."""
    config = folder / "prometheus.yml"
    config.write_text(CONFIG)
    argv = [str(program), f"--config.file={config}", f"--storage.tsdb.path={folder / 'prometheus'}"]
    return [*argv, f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"], {}


def address(folder: Path, pid: int, port: int) -> str | None:
    """Return the URL: Prometheus writes its port nowhere, so the system is asked on which one the process listens."""
    import psutil

    try:
        sockets = psutil.Process(pid).net_connections("tcp4")
    except psutil.Error:
        return None
    ports = [socket.laddr.port for socket in sockets if socket.status == psutil.CONN_LISTEN]
    return f"http://127.0.0.1:{ports[0]}" if ports else None


async def ready(address: str) -> bool:
    """Ask Prometheus's own readiness page."""
    return await http_ready(address + "/-/ready")


SERVER = Server("prometheus", "PROMETHEUS_URL", find, version_of, command, address, ready)
