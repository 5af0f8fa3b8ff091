"""Rate, errors and duration: few series whatever is asked, good names, and one process at the port."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics

from lab_services.telemetry import observations as seen
from lab_services.telemetry.red_metrics import BUCKETS, MOST_VALUES, MetricsPort, RedMetrics
from tests.telemetry.instrumented_city import free_port
from tests.telemetry.test_one_trace import until

SPAN = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def answered(red: RedMetrics, status: int = 200, route: str = "/rides/{ride_id}", seconds: float = 0.01) -> None:
    facts = {"http.request.method": "GET", "http.route": route, "http.response.status_code": status}
    red(seen.HTTP_DURATION, seconds, facts)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_requests_calls_and_messages_are_counted_and_timed(registry: CollectorRegistry) -> None:
    """Each kind has a counter, a histogram with a bound at the objective of 0.5 s, and a gauge of what is under way."""
    red = RedMetrics(registry)
    answered(red), answered(red, 500, seconds=0.55)
    red(seen.HTTP_DURATION, 1.0, {"http.request.method": "GET"})  # refused before a route was found, or given up
    red(seen.RPC_DURATION, 0.1, {"rpc.method": "LocksService/Unlock", "rpc.response.status_code": "OK"})
    red(seen.MESSAGE_DURATION, 0.1, {"messaging.destination.template": "ride.ended.*", "error.type": "KeyError"})
    red(seen.HTTP_ACTIVE, 1, {}), red(seen.HTTP_ACTIVE, 1, {}), red(seen.HTTP_ACTIVE, -1, {})
    red.lost(3, "queue full")
    told = text(registry)
    for line in (
        'http_server_requests_total{method="GET",route="/rides/{ride_id}",status="200"} 1.0',
        'http_server_requests_total{method="GET",route="/rides/{ride_id}",status="500"} 1.0',
        'http_server_requests_total{method="GET",route="unmatched",status="none"} 1.0',
        'http_server_request_duration_seconds_bucket{le="0.5",method="GET",route="/rides/{ride_id}",status="500"} 0.0',
        'http_server_request_duration_seconds_bucket{le="0.6",method="GET",route="/rides/{ride_id}",status="500"} 1.0',
        "http_server_active_requests 1.0",
        'grpc_server_calls_total{code="OK",method="LocksService/Unlock"} 1.0',
        'messages_handled_total{outcome="failed",subject="ride.ended.*"} 1.0',
        'spans_dropped_total{reason="queue full"} 3.0',
    ):
        assert line in told, line
    assert 0.5 in BUCKETS and "_created" not in told


def test_labels_have_few_values_whatever_is_asked(registry: CollectorRegistry) -> None:
    """Ten thousand routes are a hundred series and one for all others, and nothing that was counted is lost."""
    red = RedMetrics(registry)
    for number in range(10_000):
        answered(red, route=f"/r{number}")
    counted = [line for line in text(registry).splitlines() if line.startswith("http_server_requests_total")]
    assert len(counted) == MOST_VALUES + 1
    assert sum(float(line.rsplit(" ", 1)[1]) for line in counted) == 10_000


def test_a_request_of_a_kept_trace_is_an_exemplar(registry: CollectorRegistry) -> None:
    """In OpenMetrics the bucket names the trace; a request without one, or of one that is not kept, has none."""
    red = RedMetrics(registry)
    answered(red)
    assert "trace_id" not in open_metrics(registry).decode()
    unsampled = SpanContext(0xC, 0xD, is_remote=False)
    for context in (unsampled, SPAN):
        with trace.use_span(NonRecordingSpan(context)):
            answered(red)
    assert set(re.findall(r'trace_id="(\w+)"', open_metrics(registry).decode())) == {f"{0xA:032x}"}


def test_prometheus_has_nothing_to_complain_of(
    registry: CollectorRegistry, needs_program: Callable[[str], str]
) -> None:
    """`promtool check metrics` finds names, units, types and help texts in order."""
    red = RedMetrics(registry)
    answered(red)
    red(seen.RPC_DURATION, 0.1, {"rpc.method": "LocksService/Unlock", "rpc.response.status_code": "OK"})
    red(seen.MESSAGE_DURATION, 0.1, {"messaging.destination.template": "ride.ended.*"})
    red.lost(1, "queue full")
    command = [needs_program("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text(registry), capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_newer_process_takes_the_port_over(registry: CollectorRegistry) -> None:
    """Both may listen for a moment; once the older one has left, whoever asks hears the newer one."""
    number, newer = free_port(), CollectorRegistry()
    answered(RedMetrics(registry)), RedMetrics(newer)
    ports = [MetricsPort(number, registry), MetricsPort(number, newer)]
    url = f"http://127.0.0.1:{number}/metrics"
    try:
        ports[0].open()
        assert "http_server_requests_total{" in httpx.get(url, trust_env=False).text
        ports[1].open()
        ports[0].close()
        for _ in range(20):
            assert "http_server_requests_total{" not in httpx.get(url, trust_env=False).text
    finally:
        for port in ports:
            port.close()
    until(lambda: _refused(url))


def _refused(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False)
    except httpx.ConnectError:
        return True
    return False


def test_a_port_that_is_taken_stops_nobody(caplog: pytest.LogCaptureFixture, registry: CollectorRegistry) -> None:
    """The service goes on without figures, and the log says why."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = MetricsPort(taken.getsockname()[1], registry)
        port.open()
        port.close()
    assert "nobody can read the metrics" in caplog.text
