"""`telemetry` in lab.toml: how it is read, what is refused, what a service is told, and that a mesh lets spans out."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from lab_services.errors import LabError, SpecError
from lab_services.lab import IMPORT_OF_TELEMETRY
from lab_services.runtime.sidecars import waves
from lab_services.runtime.spec import load_spec, start_order
from lab_services.runtime.spec_types import LabSpec
from tests.runtime.conftest import Maker, service, until
from tests.runtime.town_mesh import PLANE, PRICING, RIDES, meshed, plane
from tests.telemetry.instrumented_city import COLLECTOR

GOOD = """
title = "Watched"
minutes = 75
[services.rides]
run = "rides:app"
calls = ["pricing"]
telemetry = "traces"
[services.pricing]
use = "pricing"
telemetry = "traces"
[services.traces]
run = "traces:app"
[services.bolts]
run = "bolts:serve"
speaks = "tcp"
[services.tariff]
run = "tariff.ts"
[services.broker]
server = "nats"
"""
TRACES = '[services.traces]\nrun = "traces:app"\n'


def read(folder: Path, content: str) -> LabSpec:
    """Read a lab of this content."""
    lab = folder / "labs" / "07_watched"
    lab.mkdir(parents=True)
    for name in ("rides", "traces", "bolts"):
        (lab / f"{name}.py").write_text("app = object()\n")
    (lab / "tariff.ts").write_text("")
    (lab / "lab.toml").write_text(content)
    return load_spec("07", folder)


def test_a_collector_starts_first_stops_last_and_is_not_needed(tmp_path: Path) -> None:
    """Nobody waits for a collector that is not ready; it takes the last spans of all others."""
    services = read(tmp_path, GOOD).services
    assert services["rides"].telemetry == "traces" and services["traces"].telemetry == ""
    assert start_order(services) == (("traces", "bolts", "tariff", "broker"), ("rides", "pricing"))
    assert services["rides"].waits_for == () and services["rides"].starts_after == ("traces",)
    assert waves(services)[-1] == ["traces"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'telemetry = "traces"\n[services.pricing]',
            'telemetry = "trace"\n[services.pricing]',
            "did you mean 'traces'",
        ),
        ('telemetry = "traces"\n[services.pricing]', "telemetry = true\n[services.pricing]", "not text in quotes"),
        ('telemetry = "traces"\n[services.pricing]', 'telemetry = ""\n[services.pricing]', "is empty"),
        ('server = "nats"', 'server = "nats"\ntelemetry = "traces"', "'broker' cannot be instrumented: it is a server"),
        ('speaks = "tcp"', 'speaks = "tcp"\ntelemetry = "traces"', "a protocol of its own"),
        ('run = "tariff.ts"', 'run = "tariff.ts"\ntelemetry = "traces"', "it is a TypeScript program"),
        ('use = "pricing"', 'use = "pricing"\nextra = "ads"', "another OpenTelemetry"),
        (
            'run = "traces:app"',
            'run = "traces:app"\ntelemetry = "traces"',
            "every span that it took would make one more",
        ),
        (TRACES, '[services.traces]\nserver = "nats"\n', "'traces' cannot take the spans of 'rides': it is a server"),
        (TRACES, '[services.traces]\nrun = "traces:serve"\nspeaks = "grpc"\n', "it speaks grpc"),
        (TRACES, TRACES + 'needs = ["rides"]\n', "need each other in a circle: rides -> traces -> rides"),
    ],
)
def test_a_slip_is_refused_by_name(tmp_path: Path, old: str, new: str, says: str) -> None:
    """What cannot be instrumented, and what takes no spans, is refused in four parts."""
    assert old in GOOD
    with pytest.raises(SpecError) as refused:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert says in str(refused.value) and refused.value.where and refused.value.next_step


ENVIRONMENT = """
import os, sys
from fastapi import FastAPI

app = FastAPI()

@app.get("/health/ready")
def ready(): return {}

@app.get("/env")
def env(): return {**os.environ, "MODULES": " ".join(sys.modules)}
"""


COUNTING = (
    ENVIRONMENT
    + """
from prometheus_client import Counter

Counter("taps_total", "Taps").inc()
"""
)


def env_of(lab_url: str) -> dict[str, str]:
    return dict(httpx.get(lab_url + "/env", trust_env=False).json())


def test_a_service_is_told_where_its_spans_go_and_who_it_is(make_town: Maker) -> None:
    """A collector in `env` takes the place of the lab's; who is not watched is told nothing."""
    watched = service("watched", telemetry="traces", replicas=2)
    cold = service("cold", telemetry="traces", launch="cold", env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger"})
    plain = service("plain")
    files = dict.fromkeys(("watched", "cold", "plain"), ENVIRONMENT)
    lab = make_town(service("traces"), watched, cold, plain, **files, traces=COLLECTOR)
    lab._ready_seconds = 30  # a cold start on a machine that is busy
    lab.start()
    second = env_of(lab["watched"].replica_urls[1])
    assert second["OTEL_EXPORTER_OTLP_ENDPOINT"] == lab["traces"].url
    assert (second["OTEL_SERVICE_NAME"], second["OTEL_RESOURCE_ATTRIBUTES"]) == (
        "watched", "service.instance.id=watched-2",
    )  # fmt: skip
    assert IMPORT_OF_TELEMETRY in second["MODULES"], "the launcher has imported it for all"
    fresh, unwatched = env_of(lab["cold"].url), env_of(lab["plain"].url)
    assert fresh["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger"
    assert "lab_services.telemetry.instrument" in fresh["MODULES"]
    assert not [name for name in unwatched if name.startswith(("OTEL_", "COURSE_TELEMETRY"))]


def test_workers_that_share_their_figures_keep_them_in_files(make_town: Maker, tmp_path: Path) -> None:
    """PROMETHEUS_MULTIPROC_DIR holds in a process whose launcher imported prometheus_client without it."""
    (shared := tmp_path / "shared").mkdir()
    env = {"PROMETHEUS_MULTIPROC_DIR": str(shared)}
    lab = make_town(
        service("workers", telemetry="traces", env=env), service("traces"), workers=COUNTING, traces=COLLECTOR
    )
    lab.start()
    assert [file.name for file in shared.iterdir()] == [f"counter_{lab['workers'].pids[0]}.db"]


def test_a_collector_that_cannot_start_holds_nobody_up(make_town: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """lab.start() says what is wrong with it, and everything else runs; the learner's own collector is asked anyway."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://own:4318")
    services = (service("traces"), service("rides", telemetry="traces"))
    lab = make_town(*services, traces="app = 1 / 0", rides=ENVIRONMENT)
    with pytest.raises(LabError, match="ZeroDivisionError"):
        lab.start()
    assert {state.name: state.state for state in lab.states()} == {"traces": "crashed", "rides": "ready"}
    assert env_of(lab["rides"].url)["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://own:4318"


def test_spans_go_past_the_mesh(make_town: Maker) -> None:
    """What rides asks goes through two sidecars in one trace; its spans go to the collector, which has none."""
    fields = {"telemetry": "traces"}
    lab = make_town(
        plane(), service("traces"), meshed("rides", calls=("pricing",), **fields), meshed("pricing", **fields),
        plane=PLANE, traces=COLLECTOR, rides=RIDES, pricing=PRICING,
    )  # fmt: skip
    lab.start()
    file = lab["traces"].data / "spans.jsonl"
    header = {"traceparent": f"00-{0xC17:032x}-00f067aa0ba902b7-01"}

    def told() -> set[str]:
        httpx.get(lab["rides"].url, headers=header, trust_env=False)
        spans = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return {f"{span['service']}: {span['name']}" for span in spans if span["trace"] == f"{0xC17:032x}"}

    until(lambda: told() >= {"rides: GET /", "rides: GET pricing", "pricing: GET /"}, 15)


def test_nothing_is_imported_where_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without `telemetry` and without METRICS_PORT costs nothing: no module, no layer, no interceptor."""
    from lab_services.runtime import instrumenting

    for name in (instrumenting.ASKED, "METRICS_PORT"):
        monkeypatch.delenv(name, raising=False)
    app = object()
    with instrumenting.instrumented("rides:app"):
        assert instrumenting.watched(app) is app and instrumenting.grpc_interceptors() == []
        instrumenting.serving(), instrumenting.leaving()
