"""Traffic control: what the Envoys do for rides, so that a part that fails or is slow takes no rider with it.

Riders speak to the edge, an Envoy that calls one of three replicas of rides. Four values are yours, in Envoy's own
field names; traffic_plane.py hands them out, and a saved file is obeyed at once:

| value        | whose                                                                     | Envoy's message          |
| ------------ | ------------------------------------------------------------------------- | ------------------------ |
| ROUTES       | the edge's; the first that fits a call decides                            | a list of Route          |
| CLUSTER      | the edge's, for the replicas of rides                                     | fields of Cluster        |
| FILTERS      | those of the Envoy beside each replica                                    | a list of HttpFilter     |
| LOCAL_ROUTES | of that Envoy too; they come before the one that leads all to the replica | a list of Route to `APP` |

**Time.** A call has 1.2 s, all its attempts together; then the rider has a 504. An attempt that may be repeated has
0.3 s, so that another replica can answer within the 1.2 s. GET /feed has no end, so no limit for the whole: it tells
something ten times a second, and it is ended when it has told nothing for 1 s.

**Again.** What may come twice is sent to another replica after a failure, and once more to the third: an answer of 5xx,
a connection that breaks, an attempt that takes too long. GET, PUT and DELETE may come twice, and a POST with the header
Idempotency-Key. No other call arrives at rides more than once, whatever becomes of it. An answer of 4xx is none to ask
again for.

**Outage.** When every attempt fails, rides gets at most 1.2 attempts for each call, with ten calls under way.

**Crowd.** 20 calls may be under way at rides, feeds among them. Each one more has a 503 with `x-envoy-overloaded` at
once; it waits in no queue, and no replica is spared because of it.

**Ill replicas.** Three failures in a row, and a replica gets no calls for 10 s. An attempt that takes too long is a
failure. Of three replicas one can be spared, and two, within a second: the third then has all calls. When all three
fail, rides is still asked, so that the first call after the outage has its answer.

**Rush.** The Envoy beside a replica lets 120 calls through at once, and 12 more a second; the others have a 429. A
question for its health (/health) is never refused.
"""

from lab_services.mesh.resources import (
    APP,
    Message,
    circuit_breakers,
    local_rate_limit,
    match,
    outlier_detection,
    retry_budget,
    retry_policy,
    route,
    typed,
)

WITH_KEY: Message = {"name": "idempotency-key", "present_match": True}  # one of the `headers` of a RouteMatch


def without(filter_name: str) -> Message:
    """Return further fields of a Route (`rest=`): the filter of this name does nothing for its calls."""
    return {"typed_per_filter_config": {filter_name: typed("envoy.config.route.v3.FilterConfig", disabled=True)}}


# --- your turn 6.3 ---
ROUTES = [
    route("rides", when=match(path="/feed"), timeout="0s"),
    route("rides", retry_policy=retry_policy("5xx", 2)),
]
CLUSTER: Message = {
    "circuit_breakers": circuit_breakers(max_connections=20, retry_budget=retry_budget(100)),
    "outlier_detection": outlier_detection(3, for_="10s", most=10),
}
FILTERS = [local_rate_limit(120, "10s")]
LOCAL_ROUTES = [route(APP, when=match("/health"))]
# --- end 6.3 ---
