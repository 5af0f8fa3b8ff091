"""A small city with Prometheus, Alertmanager and a pager, run once for all tests that only look at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab_services.lab import Lab
from lab_services.telemetry.queries import Prometheus
from tests.runtime.conftest import service, town_spec, write

# Figures at a port of their own; an exemplar with each call.
RIDES = """
from fastapi import FastAPI, Response
from prometheus_client import Counter, Histogram
from lab_services.bikeshare.health import answer_health

CALLS = Counter("http_requests_total", "Calls.", ["status"])
SECONDS = Histogram("http_request_duration_seconds", "Time.", buckets=(0.1, 1.0))
for status in ("200", "500"):
    CALLS.labels(status)

app = FastAPI()
answer_health(app)

@app.post("/calls/{status}/{times}")
async def call(status: str, times: int):
    CALLS.labels(status).inc(times)
    SECONDS.observe(0.05, {"trace_id": "abc"})

@app.post("/series/{count}")
async def many(count: int):
    for number in range(count):
        CALLS.labels(f"s{number}")
"""
# Figures at the service's own address.
STATIONS = """
from fastapi import FastAPI, Response
from prometheus_client import generate_latest
from lab_services.bikeshare.health import answer_health

app = FastAPI()
answer_health(app)

@app.get("/figures")
def figures(): return Response(generate_latest(), media_type="text/plain")
"""
RULES = """
groups:
- name: city
  rules:
  - alert: {name}
    expr: sum(rate(http_requests_total{{service="rides", status="500"}}[2s])) > 0
    labels: {{severity: page}}
    annotations: {{summary: "rides fail"}}
"""
RULES_FILE = "alert_rules.yml"
SECONDS = 10.0


@contextmanager
def watched_city(folder: Path) -> Iterator[Lab]:
    """Run the city; it is closed at the end."""
    code = folder / "10_watched"
    code.mkdir()
    write(code / "rides.py", RIDES)
    write(code / "stations.py", STATIONS)
    write(code / RULES_FILE, RULES.format(name="RidesFail"))
    specs = (
        service("rides", metrics="METRICS_PORT", replicas=2),
        service("stations", metrics="/figures"),
        service("prometheus", kind="server", target="prometheus", config=RULES_FILE, calls=("alertmanager",)),
        service("alertmanager", kind="server", target="alertmanager", calls=("pager",)),
        service("pager", kind="use", target="pager"),
    )
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("COURSE_WORK", str(folder / "work"))
        lab = Lab(town_spec(code, *specs, name="10_watched"), code, folder / "run")
        try:
            lab.start()
            yield lab
        finally:
            lab.close()


def ask(lab: Lab) -> Prometheus:
    """Return a client of the city's Prometheus."""
    return Prometheus(lab["prometheus"].url)


def up(lab: Lab) -> dict[str, float]:
    """Return for each target, by its instance, whether its last scrape succeeded."""
    with ask(lab) as prometheus:
        return {sample.labels["instance"]: sample.value for sample in prometheus.instant("up")}


def pages(lab: Lab) -> list[dict[str, Any]]:
    """Return what the pager has kept."""
    found: list[dict[str, Any]] = httpx.get(f"{lab['pager'].url}/pages", timeout=SECONDS).json()["pages"]
    return found


def call_rides(lab: Lab, status: str, times: int = 1) -> None:
    """Let rides count calls that ended with a status."""
    httpx.post(f"{lab['rides'].url}/calls/{status}/{times}", timeout=SECONDS).raise_for_status()
