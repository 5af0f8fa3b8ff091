"""From an ended span to the collector: in a thread of its own, with a bounded queue, and never in a request's way.

A collector that is dead or hangs costs the spans, which are counted, and nothing else.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import set_global_textmap
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from lab_services.telemetry.privacy import public_attributes
from lab_services.telemetry.trace_context import StrictTraceContext

QUEUE_SPANS = 2048  # about 2 MB; when it is full, the oldest span is dropped
BATCH_SPANS = 256
DELAY_MILLISECONDS = 200.0  # until a span leaves: somebody may be looking; OTEL_BSP_SCHEDULE_DELAY wins
EXPORT_SECONDS = 2.0  # for one batch, second tries included; OTEL_EXPORTER_OTLP_TIMEOUT in the environment wins
# For the last spans of a process, which is killed 3 s after its SIGTERM and may have drained for 2; a collector that is
# dead makes every stop so much longer. OTEL_BSP_EXPORT_TIMEOUT (milliseconds) in the environment wins.
FLUSH_SECONDS = 0.7
log = logging.getLogger("telemetry")
Lost = Callable[[int, str], object]  # how many spans, and why


class Exporter(SpanExporter):
    """Sends what may be seen of spans, by another exporter; says once when that begins to fail, and when it ends."""

    def __init__(self, inner: SpanExporter, lost: Lost) -> None:
        self._inner, self._lost = inner, lost
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; what could not be sent is lost, and counted."""
        result = self._inner.export([public(span) for span in spans])
        failing = result is not SpanExportResult.SUCCESS
        if failing:
            self._lost(len(spans), "export failed")
        if failing != self._failing:
            self._failing = failing
            log.warning("spans cannot be sent, and are dropped" if failing else "spans are sent again")
        return result

    def shutdown(self) -> None:
        """Give up what is being sent."""
        self._inner.shutdown()


class _Losses:
    """What the SDK tells of its queue, in the words of its own internal interface."""

    def __init__(self, lost: Lost) -> None:
        self._lost = lost

    def register_queue_size(self, get_queue_size: Callable[[], int]) -> None:
        """Take no notice."""

    def finish_items(self, count: int) -> None:
        """Take no notice."""

    def drop_items(self, count: int, error_type: str = "queue_full") -> None:
        """Count spans that never left the queue."""
        self._lost(count, error_type.replace("_", " "))


class Spans:
    """The spans of one process: `lost` hears of each that no collector gets."""

    def __init__(self, lost: Lost, exporter: SpanExporter | None = None) -> None:
        """Make what traces; by default to OTEL_EXPORTER_OTLP_ENDPOINT.

        The sampler is the SDK's: every trace, or what the caller has decided (parentbased_always_on), unless
        OTEL_TRACES_SAMPLER says otherwise.
        """
        # The exporter and the queue would log each of their troubles, with texts of their own: `Exporter` says it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        inner = exporter or OTLPSpanExporter(timeout=_export_seconds())
        processor = BatchSpanProcessor(
            Exporter(inner, lost),
            max_queue_size=QUEUE_SPANS,
            max_export_batch_size=BATCH_SPANS,
            schedule_delay_millis=None if "OTEL_BSP_SCHEDULE_DELAY" in os.environ else DELAY_MILLISECONDS,
        )
        processor._batch_processor._metrics = _Losses(lost)  # the SDK has no other way to learn of a drop
        # Resource.create() would look through all installed packages for more detectors.
        resource = Resource({"telemetry.sdk.language": "python"}).merge(OTELResourceDetector().detect())
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(processor)

    def install(self) -> None:
        """Make all instrumentation of this process use it, once and for all."""
        set_global_textmap(StrictTraceContext())
        trace.set_tracer_provider(self.provider)

    def end(self, seconds: float | None = None) -> bool:
        """Send the last spans, for at most so long whatever the collector does; return whether that was enough."""
        ending = threading.Thread(target=self.provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(_flush_seconds() if seconds is None else seconds)
        return not ending.is_alive()


def public(span: ReadableSpan) -> ReadableSpan:
    """Return a copy of a span as it may leave the process: errors have their type, and not their text."""
    events = [
        Event(each.name, {k: v for k, v in (each.attributes or {}).items() if k == "exception.type"}, each.timestamp)
        if each.name == "exception"
        else each
        for each in span.events
    ]
    description = (span.status.description or "").partition(":")[0] or None
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=public_attributes(span.attributes or {}),
        events=events,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code, description if span.status.is_unset is False else None),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _flush_seconds() -> float:
    wish = os.environ.get("OTEL_BSP_EXPORT_TIMEOUT", "")
    return int(wish) / 1000 if wish.isdecimal() else FLUSH_SECONDS


def _export_seconds() -> float | None:
    return None if os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") else EXPORT_SECONDS
