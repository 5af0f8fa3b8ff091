"""One ride through a real city is one trace, edge by edge; and a collector in trouble costs nobody anything."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest

from lab_services.bikeshare.locks_messages import messages, services
from tests.telemetry.instrumented_city import City, edges, instrumented_city

SECONDS = 20.0
CLIENT, SERVER, PRODUCER, CONSUMER = 3, 2, 4, 5
OK, ERROR = (0, 1), 2
DOORS = "bikeshare.locks.v1.LocksService"


def until(probe: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Poll until the probe is true; return what it says."""
    end = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < end, f"not true within {seconds:g} s"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    with instrumented_city(tmp_path_factory.mktemp("watched")) as city:
        yield city


def new_trace() -> tuple[str, dict[str, str]]:
    """Return a trace id and the header of a rider who has begun this trace."""
    trace = uuid4().hex
    return trace, {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}


def ask(city: City, path: str, method: str = "GET", service: str = "gate", **fields: Any) -> tuple[str, httpx.Response]:
    """Ask as a rider with a trace of her own; return its id and the answer."""
    trace, header = new_trace()
    return trace, httpx.request(method, city.lab[service].url + path, headers=header, timeout=SECONDS, **fields)


def message(step: str, *, back: bool) -> list[tuple[str, str]]:
    """Return the edges of one command or reply: who wrote it, the relay, who hears it."""
    who = step.split(".")[0]
    said, heard = ("reply", "starts") if back else ("command", who)
    return [(f"relay: publish {said}.{step}.*", f"{heard}: process {said}.{step}.*")]


def edges_of_a_start() -> set[tuple[str, str]]:
    """Return every edge of a ride that starts, as chapter 05 tells it."""
    gate, starts = "gate: PUT /rides/{ride_id}", "starts: PUT /starts/{ride_id}"
    found = {("", gate), (gate, "gate: PUT starts"), ("gate: PUT starts", starts)}
    for method in ("Unlock", "WatchLocks", "GetLock"):
        found |= {(gate, f"gate: /{DOORS}/{method}"), (f"gate: /{DOORS}/{method}", f"doors: {DOORS}/{method}")}
    asked, storm = "lock.*.battery", "storm.warning"
    found |= {(gate, f"gate: request {asked}"), (f"gate: request {asked}", f"batteries: process {asked}")}
    found |= {(gate, f"gate: publish {storm}"), (f"gate: publish {storm}", f"displays: process {storm}")}
    before = starts
    for step in ("wallet.hold", "stations.reserve", "locks.unlock", "rides.start"):
        obeyed = f"{step.split('.')[0]}: process command.{step}.*"
        found |= {(before, f"relay: publish command.{step}.*"), *message(step, back=False)}
        found |= {(obeyed, f"relay: publish reply.{step}.*"), *message(step, back=True)}
        before = f"starts: process reply.{step}.*"
    return found | {("rides: process command.rides.start.*", "relay: publish ride.started.*")}


def test_one_ride_is_one_trace(city: City) -> None:
    """HTTP, gRPC with and without threads, a stream, a question, a warning, four commands and replies by an outbox."""
    trace, answer = ask(city, "/rides/one.1", "PUT")
    assert answer.status_code == 202, answer.text
    wanted = edges_of_a_start()
    until(lambda: wanted <= edges(city.spans(trace)))
    spans = city.spans(trace)
    assert edges(spans) == wanted and len(spans) == len(wanted), "nothing is in it twice"
    kinds = {span["name"].split(" ")[0]: span["kind"] for span in spans if span["service"] != "gate"}
    assert kinds["publish"] == PRODUCER and kinds["PUT"] == SERVER and kinds[f"{DOORS}/Unlock"] == SERVER
    assert {span["instance"] for span in spans if span["service"] == "starts"} == {"starts-1"}
    failed = [span["name"] for span in spans if span["status"] == ERROR]
    assert failed in ([], [f"/{DOORS}/WatchLocks"]), "whoever stops watching is no error of the server"


def test_a_batch_of_messages_has_links_to_who_said_them(city: City) -> None:
    """The map works on many messages at once: its span is in none of their traces, and links to them."""
    found = until(lambda: [span for span in city.spans() if span["service"] == "citymap" and span["links"]])
    assert {span["name"] for span in found} == {"process ride.started.*"} and not found[0]["parent"]


def test_errors_are_marked_and_refusals_are_not(city: City) -> None:
    """500 and an exception are errors of the server, 404 is none; their texts, which may name a rider, stay here."""
    status = {}
    for path in ("/broken", "/missing", "/nowhere"):
        trace, answer = ask(city, path)
        (span,) = until(lambda trace=trace: city.spans(trace))
        status[path] = (answer.status_code, span["status"] == ERROR, span["facts"].get("error.type"))
        assert not re.search(r"\bada\b", json.dumps(span))
    assert status["/broken"] == (500, True, "RuntimeError")
    assert status["/missing"] == status["/nowhere"] == (404, False, None)


def test_nothing_personal_leaves_by_a_span(city: City) -> None:
    """Riders' ids, queries and card numbers are in no span of the whole city; the ids of rides are."""
    trace, _ = ask(city, "/wallets/ada?token=opens-doors&card=4111111111111111")
    (span,) = until(lambda: city.spans(trace))
    assert span["facts"]["url.path"] == "/wallets/{rider_id}"
    everything = city.spans_file.read_text()
    assert not re.search(r"\bada\b|4111111111111111|opens-doors", everything)
    assert '"url.path": "/starts/one.1"' in everything


def lines_of(city: City, service: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in city.lab.logs(service).lines]


def test_a_finished_service_logs_lines_of_json(city: City) -> None:
    """Each line has its time, level, service, instance and event, and ids of trace and span while there is one."""
    trace, _ = ask(city, "/rides/told.1", "PUT")
    told = until(lambda: [line for line in lines_of(city, "starts") if line.get("trace_id") == trace])
    line = next(line for line in told if line["event"] == "request")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["time"])
    fields = ("level", "service", "instance", "method", "route", "status")
    assert [line[key] for key in fields] == ["info", "starts", "starts-1", "PUT", "/starts/{ride_id}", 202]
    until(lambda: line["span_id"] in {span["id"] for span in city.spans(trace)})
    called = until(lambda: [each for each in lines_of(city, "doors") if each.get("trace_id") == trace])
    assert {each["event"] for each in called} == {"call"} and {each["code"] for each in called} <= {"OK", "CANCELLED"}
    assert not any("/health" in str(line) for line in lines_of(city, "doors"))


def test_a_service_is_counted_by_route_and_status(city: City) -> None:
    """Requests are counted and timed at the port of their own, with the trace as an exemplar; probes are not."""
    trace, _ = ask(city, "/missing")
    ask(city, f"/{uuid4().hex}")
    wanted = {"Accept": "application/openmetrics-text"}
    figures = httpx.get(f"http://127.0.0.1:{city.metrics_port}/metrics", headers=wanted)
    assert figures.headers["content-type"].startswith("application/openmetrics-text")
    assert 'http_server_requests_total{method="GET",route="/missing",status="404"}' in figures.text
    assert 'http_server_requests_total{method="GET",route="unmatched",status="404"}' in figures.text
    assert f'trace_id="{trace}"' in figures.text
    assert 'route="/health' not in figures.text and "http_server_active_requests 0.0" in figures.text


def test_a_restart_loses_no_span(city: City) -> None:
    """What the older process has answered just before it left is in the store, and the figures begin anew."""
    traces = []
    for _ in range(3):
        traces.append(ask(city, "/missing")[0])
        city.lab.restart("gate")
        traces.append(ask(city, "/missing")[0])
    until(lambda: all(city.spans(trace) for trace in traces))
    text = until(lambda: httpx.get(f"http://127.0.0.1:{city.metrics_port}/metrics").text)
    assert re.search(r'http_server_requests_total\{[^}]*"/missing"[^}]*\} 1\.0', text)


def test_a_collector_that_is_dead_or_hangs_costs_nothing(city: City) -> None:
    """Requests are answered, lost spans are counted, services start and stop; and it gets spans again when it lives."""
    city.lab.kill("traces")
    assert ask(city, "/missing")[1].status_code == 404
    dropped = re.compile(r'spans_dropped_total\{reason="export failed"\} [1-9]')
    until(lambda: dropped.search(httpx.get(f"http://127.0.0.1:{city.metrics_port}/metrics").text))
    city.lab.launch("traces")
    httpx.put(city.lab["traces"].url + "/hanging")
    assert ask(city, "/missing")[1].status_code == 404
    city.lab.restart("gate")
    assert ask(city, "/missing")[1].status_code == 404
    city.lab.restart("traces")
    asked: list[str] = []
    until(lambda: asked.append(ask(city, "/missing")[0]) or any(map(city.spans, asked)))


def test_the_last_spans_of_a_process_are_sent(city: City) -> None:
    """Spans that wait for ten minutes come at a restart and at a stop, from HTTP and from gRPC."""
    replaced = ask(city, "/missing", service="late")[0]
    assert not city.spans(replaced)
    city.lab.restart("late")
    until(lambda: city.spans(replaced))
    stopped = [ask(city, "/missing", service="late")[0] for _ in range(5)]
    trace, header = new_trace()
    with grpc.insecure_channel(city.lab["late_doors"].url) as channel:
        locks = services.LocksServiceStub(channel)
        locks.GetLock(messages.GetLockRequest(lock_id="l-01"), timeout=SECONDS, metadata=tuple(header.items()))
    city.lab.stop()
    assert all(city.spans(each) for each in (*stopped, trace))


def test_the_logs_have_no_personal_data_and_no_traceback(city: City) -> None:
    """No line of a finished service names a rider, and each is one JSON document."""
    found = sorted(Path(city.lab._scratch).rglob("*.log"))
    told = {file.stem: file.read_text() for file in found if file.stem not in ("broker", "gate", "traces")}
    assert {"starts", "doors", "wallet"} <= set(told)
    for text in told.values():
        assert not re.search(r"Traceback|\bada\b|41111", text)
        assert all(json.loads(line)["event"] for line in text.splitlines())
