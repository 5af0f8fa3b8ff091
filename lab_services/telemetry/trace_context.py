"""W3C Trace Context as this city takes it from strangers: what is valid is continued, everything else begins anew.

https://www.w3.org/TR/trace-context/ (section 3.2: one traceparent, and an invalid one is ignored). OpenTelemetry's own
propagator takes the first of several traceparents; here two of them are none. Baggage (W3C Baggage) is not carried: no
service reads it, and whatever a stranger writes into it would reach every one of them.
"""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import CarrierT, Getter, default_getter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


class StrictTraceContext(TraceContextTextMapPropagator):
    """Reads and writes traceparent and tracestate; a request with two traceparents begins a trace of its own."""

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """Return the context with the caller's span in it, or as it was."""
        if len(getter.get(carrier, self._TRACEPARENT_HEADER_NAME) or ()) > 1:
            return Context() if context is None else context
        return super().extract(carrier, context, getter)
