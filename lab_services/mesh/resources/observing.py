"""What an Envoy tells about the calls it carries: access logs and traces."""

from __future__ import annotations

from .messages import Message, extension

_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "why": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "milliseconds": "%DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "replica": "%UPSTREAM_HOST%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "caller": "%DOWNSTREAM_PEER_URI_SAN%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "traceparent": "%REQ(TRACEPARENT)%",
}


def access_log(**fields: str) -> list[Message]:
    """Return a field access_log of HttpConnectionManager: one JSON object a call, on Envoy's standard output.

    `fields` are added to the usual ones, or replace them, each by Envoy's command operator ("%REQ(X-RIDER)%"). What
    does not apply to a call is null. `flags` says what Envoy did: UF (could not connect), UO (circuit breaker), UH (no
    healthy replica), URX (retries used up), UT (timeout), RL (rate limit), DI, FI (fault); `why` says it in words.
    """
    kind = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
    return [extension("envoy.access_loggers.stdout", kind, log_format={"json_format": _FIELDS | fields})]


def tracing(service: str, cluster: str = "traces", path: str = "/v1/traces") -> Message:
    """Return a field `tracing` of HttpConnectionManager: spans go by OTLP over HTTP to a cluster, all of them.

    They leave when 5 spans are there or 5 s are over, unless the runtime settings of the Envoy's bootstrap differ
    (tracing.opentelemetry.min_flush_spans and .flush_interval_ms).
    """
    uri = {"uri": f"http://{cluster}{path}", "cluster": cluster, "timeout": "1s"}
    provider = extension(
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        service_name=service,
        http_service={"http_uri": uri},
    )
    return {"provider": provider, "random_sampling": {"value": 100}, "spawn_upstream_span": True}
