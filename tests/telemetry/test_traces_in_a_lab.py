"""The trace store as a lab runs it: a finished service beside others, which starts at once and keeps what it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab_services.lab import Lab
from lab_services.runtime.spec import load_spec
from lab_services.telemetry.reading import read_trace
from lab_services.views import ServiceMap, Waterfall
from tests.telemetry.test_reading import SECONDS, provider

LAB = """
title = "A town"
minutes = 1
[services.traces]
use = "traces"
env = { MOST_SPANS = "1000" }
"""
TEXT = """\
A ride: 2 spans, 1 service
step  under  service  span           kind      note
----  -----  -------  -------------  --------  ----
   1      -  rides    POST /rides    internal
   2      1  rides    \u00b7 count bikes  internal"""


def test_a_store_in_a_lab_is_told_asked_killed_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`use = "traces"` is all it takes; what was acknowledged before SIGKILL is there when it runs again."""
    monkeypatch.setenv("COURSE_WORK", str(tmp_path / "work"))
    folder = tmp_path / "labs" / "10_town"
    folder.mkdir(parents=True)
    (folder / "lab.toml").write_text(LAB)
    lab = Lab(load_spec("10_town", tmp_path), folder, tmp_path / "runs")
    try:
        lab.start()
        rides = provider(lab["traces"].url, "rides")
        with rides.get_tracer("test").start_as_current_span("POST /rides") as span:
            with rides.get_tracer("test").start_as_current_span("count bikes"):
                pass
        assert rides.force_flush(SECONDS * 1000)
        lab.kill("traces")
        lab.launch("traces")
        trace = read_trace(lab["traces"].url, f"{span.get_span_context().trace_id:032x}")
        assert repr(Waterfall(trace, "A ride")) == TEXT
        assert repr(ServiceMap([trace])).endswith("\n  rides: neither calls nor is called")
        assert (lab["traces"].data / "traces.db").exists()
        rides.shutdown()
    finally:
        lab.close()
