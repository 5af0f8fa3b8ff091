"""Prometheus: collects the figures of the services, and evaluates the rules of a lab.

What it scrapes stands in a file that the runtime keeps (runtime/scraping.py). SCRAPE_INTERVAL in `env` is how often,
rules are evaluated as often; `config` is a rules file of the lab; the Alertmanagers are those that it needs or calls.

Version 2 looks at its targets every 5 s and no oftener: the first figures come 5 s after its start, and so do those of
a replica that is added. After it has read its configuration again it knows no Alertmanager for up to 5 s. That is no
setting (prometheus/prometheus, discovery/legacymanager; pull request 18187 mends it in version 3).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab_services.runtime.readiness import http_ready
from lab_services.runtime.scraping import TARGETS_FILE
from lab_services.servers import Server, Wishes, version_of
from lab_services.telemetry import programs, promtool

SCRAPE_INTERVAL = "500ms"
# Prometheus repeats a firing alert this often: an Alertmanager that was away soon knows of it. Its own way is 1 minute.
RESEND = "--rules.alert.resend-delay=1s"
# POST /-/reload answers when the configuration is loaded, or says why not; exemplars are not kept unless asked for.
FLAGS = ["--web.enable-lifecycle", "--enable-feature=exemplar-storage", RESEND, "--log.level=warn"]


def find() -> Path:
    """Return the prometheus on PATH."""
    return programs.find(programs.PROMETHEUS)


def configuration(folder: Path, wishes: Wishes) -> dict[str, Any]:
    """Return prometheus.yml as a dictionary."""
    interval = wishes.env.get("SCRAPE_INTERVAL", SCRAPE_INTERVAL)
    managers = [urlsplit(called.url).netloc for called in wishes.called if called.target == "alertmanager"]
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [_literal(wishes.config)] if wishes.config else [],
        "alerting": {"alertmanagers": [{"timeout": "2s", "static_configs": [{"targets": managers}]}]},
        "scrape_configs": [{"job_name": "lab", "file_sd_configs": [{"files": [_literal(folder / TARGETS_FILE)]}]}],
    }


def command(program: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Write prometheus.yml and return the command line; what it measures is kept in `folder`/prometheus."""
    return fitted(program, folder, port, Wishes())


def fitted(program: Path, folder: Path, port: int, wishes: Wishes) -> tuple[list[str], dict[str, str]]:
    """Do what `command` does with the rules and the Alertmanagers of a lab.

    Raises:
        PrometheusRefuses: it would not take the rules: promtool's own words.
    """
    if wishes.config:
        promtool.check_rules(wishes.config)
    config = folder / "prometheus.yml"
    # JSON is YAML, and quotes what paths may hold.
    config.write_text(json.dumps(configuration(folder, wishes), indent=2))
    argv = [str(program), f"--config.file={config}", f"--storage.tsdb.path={folder / 'prometheus'}"]
    return [*argv, f"--web.listen-address=127.0.0.1:{port}", *FLAGS], {}


def _literal(path: Path) -> str:
    """Return the path as a pattern that matches nothing else (filepath.Glob of Go)."""
    return re.sub(r"([?\[\\])", r"\\\1", str(path))


def address(folder: Path, pid: int, port: int) -> str | None:
    """Return the URL."""
    return f"http://127.0.0.1:{port}" if port else None


async def ready(address: str) -> bool:
    """Ask Prometheus's own readiness page."""
    return await http_ready(address + "/-/ready")


SERVER = Server(
    "prometheus", "PROMETHEUS_URL", find, version_of, command, address, ready, fitted, given_port=True, reloads=True
)
