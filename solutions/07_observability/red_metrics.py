"""Counts the requests of rides, and answers GET /metrics: rate, errors and duration.

`count` is called once for each request that has ended; red_middleware.py says with what. `answer` is the answer to
GET /metrics, in Prometheus's text format and with its Content-Type. It has these metrics; dashboards ask for the names:

| name                            | type      | labels                | what                                       |
| ------------------------------- | --------- | --------------------- | ------------------------------------------ |
| `http_requests_total`           | counter   | method, route, status | how many requests have ended               |
| `http_request_duration_seconds` | histogram | method, route         | how long they have taken, in seconds       |

Rate and errors are read from the first one (which requests are errors, `status` says), the duration from the second.
The histogram may have the label `status` as well. There are no other labels, and each has few values: however many
riders come, with however many bikes and paths, there are no more series than after one request of each kind.

Buckets: the city's objective is that an answer takes OBJECTIVE_SECONDS at most. How many did is known and not
estimated: a bucket ends there. And a quantile that Prometheus estimates (`histogram_quantile`: linear within a bucket)
is wrong by 15 % at most, wherever between 0.2 s and 1 s the durations lie, all at one point too. Each bucket is a
series for each kind of request, so there are 40 at most.

Two replicas of rides run, and either may be asked: it answers the sum over both, and over those that ran before them,
however they ended. No number ever falls while the city runs. Replicas share FOLDER, where prometheus_client keeps what
each process has counted, in a file of its own, because PROMETHEUS_MULTIPROC_DIR names it. That alone makes no sum:
`prometheus_client.multiprocess.MultiProcessCollector` reads all files, for a registry that has nothing else.
"""

import os
from pathlib import Path

from fastapi import Response

OBJECTIVE_SECONDS = 0.5
FOLDER = Path(os.environ.get("DATA_DIR", "data"), "metrics")
FOLDER.mkdir(parents=True, exist_ok=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(FOLDER)  # prometheus_client looks for it once: when it is imported

import prometheus_client.multiprocess  # noqa: E402

# --- your turn 7.1 ---
# Steps of 14 %: no estimate can be wrong by more. One of them is the objective, so that its share is counted.
STEPS = (round(OBJECTIVE_SECONDS * 1.14**step, 3) for step in range(-7, 7))
REQUESTS = prometheus_client.Counter("http_requests", "Requests that have ended.", ["method", "route", "status"])
DURATION = prometheus_client.Histogram(
    "http_request_duration_seconds", "How long they took.", ["method", "route"], buckets=(0.05, 0.1, *STEPS, 2, 5)
)


def count(method: str, route: str, status: str, seconds: float) -> None:
    """Count a request that has ended."""
    REQUESTS.labels(method, route, status).inc()
    DURATION.labels(method, route).observe(seconds)


def answer() -> Response:
    """Answer GET /metrics."""
    registry = prometheus_client.CollectorRegistry()  # an empty one: the default one knows this process alone
    # Files of processes that have ended are read as well: their requests have been, and a total does not fall.
    prometheus_client.multiprocess.MultiProcessCollector(registry)
    return Response(prometheus_client.generate_latest(registry), media_type=prometheus_client.CONTENT_TYPE_LATEST)


# --- end 7.1 ---
