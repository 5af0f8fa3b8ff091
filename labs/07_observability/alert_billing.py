"""Billing: POST /bills bills a ride, at once and in time, and counts it as alert_rules.yml says."""

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest

app = FastAPI(title="billing")
registry = CollectorRegistry()
billed = Counter("rides_billed", "Bills that were written.", ["result"], registry=registry)
for result in ("in_time", "late", "twice"):
    billed.labels(result)  # there from the start, at 0


@app.post("/bills", status_code=201)
def bill() -> dict[str, str]:
    """Bill a ride."""
    billed.labels("in_time").inc()
    return {"result": "in_time"}


@app.get("/health/{kind}")
def health(kind: str) -> dict[str, str]:
    """Say that the replica is there."""
    return {"status": "ok"}


@app.get("/metrics")
def metrics() -> Response:
    """Show the figures to Prometheus."""
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
