"""The way from a service's process to its instrumentation, which is imported only where lab.toml asks for it.

`telemetry` in lab.toml sets ASKED, `metrics = true` sets METRICS_PORT. Without either nothing is imported or changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab_services.telemetry.instrument import Instrumentation

ASKED = "COURSE_TELEMETRY"
_running: Instrumentation | None = None


@contextmanager
def instrumented(target: str) -> Iterator[None]:
    """Instrument this process before the service `module:attribute` is imported; send its last spans at the end."""
    global _running
    if warm := sys.modules.get("lab_services.telemetry.warm"):
        warm.choose_values()
    if not os.environ.get(ASKED) and not os.environ.get("METRICS_PORT"):
        yield
        return
    from lab_services.telemetry.instrument import Instrumentation

    _running = Instrumentation(target, traces=bool(os.environ.get(ASKED)))
    try:
        yield
    finally:
        ended()


def serving() -> None:
    """Take over the metrics port: from now on this process, and no older one, is what Prometheus looks at."""
    if _running is not None:
        _running.serving()


def leaving() -> None:
    """Leave the metrics port to the newer process."""
    if _running is not None:
        _running.leaving()


def ended() -> None:
    """Send the last spans: all requests have their answers. A second time it does nothing."""
    if _running is not None:
        _running.end()


def watched(app: Any) -> Any:
    """Return the app to serve: one that no framework of its own instruments gets a layer around it."""
    return app if _running is None else _running.watched(app)


def grpc_interceptors() -> list[Any]:
    """Return what watches the calls of a gRPC server; it comes before all other interceptors."""
    return [] if _running is None else _running.grpc_interceptors()


def log_config() -> dict[str, Any] | None:
    """Return uvicorn's own way to log; None where all that is logged goes out as lines of JSON."""
    if _running is not None and _running.logs_json:
        return None
    from uvicorn.config import LOGGING_CONFIG

    return LOGGING_CONFIG
