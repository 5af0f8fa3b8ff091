"""What instrumentation measures, on its way to who wants to know: metrics of Prometheus, a line of the log.

FastAPI and the instrumentation packages measure through the API of OpenTelemetry. Here that API ends: no SDK adds
anything up, each measurement is handed on as it is made, while the span that it belongs to is the current one. (The
exporter of OpenTelemetry for Prometheus knows no exemplars.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter, NoOpHistogram, NoOpMeter, NoOpUpDownCounter, UpDownCounter

HTTP_DURATION, HTTP_ACTIVE = "http.server.request.duration", "http.server.active_requests"
RPC_DURATION, RPC_ACTIVE = "rpc.server.call.duration", "rpc.server.active_calls"
MESSAGE_DURATION, MESSAGE_ACTIVE = "messaging.process.duration", "messaging.process.active_messages"
DURATIONS = (HTTP_DURATION, RPC_DURATION, MESSAGE_DURATION)  # in seconds
ACTIVES = (HTTP_ACTIVE, RPC_ACTIVE, MESSAGE_ACTIVE)

Facts = Mapping[str, Any]
Listener = Callable[[str, float, Facts], object]  # what was measured, its value, its attributes


class Observations(metrics.MeterProvider):
    """Hands each measurement that the city looks at to all `listeners`; everything else is dropped."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> Meter:
        """Return what instruments are made with."""
        return _Meter(self._tell, name, version, schema_url)

    def _tell(self, name: str, value: float, facts: Facts) -> None:
        for listener in self._listeners:
            listener(name, value, facts)


class _Meter(NoOpMeter):
    def __init__(self, tell: Listener, name: str, version: str | None, schema_url: str | None) -> None:
        super().__init__(name, version, schema_url)
        self._tell = tell

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> Histogram:
        return _Duration(self._tell, name) if name in DURATIONS else NoOpHistogram(name)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> UpDownCounter:
        return _Active(self._tell, name) if name in ACTIVES else NoOpUpDownCounter(name)


class _Duration(NoOpHistogram):
    def __init__(self, tell: Listener, name: str) -> None:
        super().__init__(name)
        self._tell, self._what = tell, name

    def record(self, amount: float, attributes: Any = None, context: Context | None = None) -> None:
        self._tell(self._what, amount, attributes or {})


class _Active(NoOpUpDownCounter):
    def __init__(self, tell: Listener, name: str) -> None:
        super().__init__(name)
        self._tell, self._what = tell, name

    def add(self, amount: float, attributes: Any = None, context: Context | None = None) -> None:
        self._tell(self._what, amount, attributes or {})
