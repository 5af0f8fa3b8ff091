"""What the launcher imports before it forks, for services that are instrumented.

It is time that is spent once, and memory: whatever a child imports itself, it also writes into pages that it shared
with its parent before (a child that imports requests and prometheus_client has 20 MB more for itself). Nothing here
starts a thread or sets a provider: a fork has no threads of its parent.

prometheus_client chooses at its import how values are kept, by PROMETHEUS_MULTIPROC_DIR; `choose_values` lets a child
choose again.
"""

from __future__ import annotations

import os
import sqlite3  # noqa: F401  (this one and the others that nobody uses here are imported for the children)
import wsgiref.simple_server  # noqa: F401

import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401
import prometheus_client.openmetrics.exposition  # noqa: F401
import requests  # noqa: F401  # what the exporter sends with: it imports this when it is made
from prometheus_client import values

import lab_services.telemetry.instrument
import lab_services.telemetry.json_logs
import lab_services.telemetry.outgoing
import lab_services.telemetry.red_metrics
import lab_services.telemetry.span_sending  # noqa: F401


def choose_values() -> None:
    """Keep values as this process's own environment says; to be called before its first metric is made."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
