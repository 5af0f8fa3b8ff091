"""The log of a finished service: one JSON document a line, one line a mistake, nobody's name in any."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """Return what a service with a mistake has logged, as its standard output; its standard error is empty."""
    env = {**os.environ, "SERVICE_NAME": "broken", "REPLICA": "2", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    command = [sys.executable, "-m", "tests.telemetry.broken_service"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_mistake_is_logged_once_with_its_place_and_its_trace(lines: list[dict[str, Any]]) -> None:
    """FastAPI tells of it inside the span, uvicorn a second time outside: there is one line, and it has the ids."""
    (line,) = [line for line in lines if line["level"] == "error" and line["event"] == "a mistake in this service"]
    assert (line["exception"], line["route"]) == ("KeyError", "/wallets/{rider_id}")
    assert re.fullmatch(r"broken_service\.py:\d+ wallet", line["where"]) and line["frames"][-1] == line["where"]
    assert re.fullmatch(r"[0-9a-f]{32}", line["trace_id"]) and re.fullmatch(r"[0-9a-f]{16}", line["span_id"])
    (request,) = [each for each in lines if each.get("status") == 500]
    assert request["trace_id"] == line["trace_id"] and request["route"] == "/wallets/{rider_id}"


def test_the_standard_library_goes_the_same_way(lines: list[dict[str, Any]]) -> None:
    """An exception that a service logs itself is fields of its line, and what was said keeps to one line."""
    (line,) = [line for line in lines if line["logger"] == "broken" and line["level"] == "error"]
    assert line["event"] == "ride r-1 is\nodd: nats://[hidden]@host"
    assert (line["exception"], line["ride_id"], line["rider_id"]) == ("ValueError", "r-1", "[hidden]")
    assert (line["service"], line["instance"]) == ("broken", "broken-2")


def test_no_line_has_personal_data_and_probes_have_no_line(lines: list[dict[str, Any]]) -> None:
    """Names, tokens, cards and queries are nowhere; each request but the probe has a line with its status."""
    text = json.dumps(lines)
    assert not re.search(r"\bada\b|\bzoe\b|opens-doors|4111|secret|health", text)
    (warned,) = [line for line in lines if str(line["event"]).startswith("asked with")]
    assert warned["event"] == "asked with Bearer [hidden]" and warned["headers"]["authorization"] == "[hidden]"
    assert [line["status"] for line in lines if line["event"] == "request"] == [500, 200]
