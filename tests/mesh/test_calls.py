"""What else a sidecar does to a call: faults on request, a line in its log, a span in a trace, gRPC call by call."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import replace

import grpc
import pytest

from lab_services.mesh.registry import Workload
from lab_services.mesh.resources import (
    Resources,
    fault_by_header,
    http,
    listener,
    listener_outbound,
    local_route,
    route,
    static_cluster,
    tracing,
)
from lab_services.mesh.sidecars import sidecar
from tests.mesh.builds import calling, guarding
from tests.mesh.envoys import Replica, Town, until

QUOTE = "http://pricing/quote"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_fault_comes_to_those_who_ask_for_it(town: Town) -> None:
    """A header asks for an error or a delay; every other call goes through as if there were no filter."""
    town.use(guarding([fault_by_header()]))
    until(town.settled)
    assert town.call("rides-1", QUOTE, headers={"x-envoy-fault-abort-request": "418"}).status_code == 418
    assert not town.replicas["pricing-1"].seen() + town.replicas["pricing-2"].seen()
    begin = time.monotonic()
    assert town.call("rides-1", QUOTE, headers={"x-envoy-fault-delay-request": "300"}).status_code == 200
    assert time.monotonic() - begin >= 0.3
    assert {town.call("rides-1", QUOTE).status_code for _ in range(20)} == {200}


def test_each_call_is_a_line_of_json_in_both_logs(town: Town) -> None:
    """The line says what was asked, who answered, and when nobody did, why not."""
    assert town.call("rides-1", QUOTE).status_code == 200
    town.call("rides-1", "http://nobody/")
    lines = until(lambda: len(found := town.replicas["rides-1"].access_log()) == 2 and found)
    place = f"127.0.0.1:{town.replicas[town_answerer(town)].workload.inbound}"
    asked = [lines[0][name] for name in ("method", "host", "path", "status")]
    assert asked == ["GET", "pricing", "/quote", 200]
    assert (lines[0]["cluster"], lines[0]["replica"], lines[0]["attempts"]) == ("pricing", place, 1)
    assert (lines[1]["status"], lines[1]["why"], lines[1]["replica"]) == (502, "direct_response", None)
    inbound = until(lambda: town.replicas[town_answerer(town)].access_log())
    assert inbound[0]["request_id"] == lines[0]["request_id"] and inbound[0]["cluster"] == "app"


def test_the_log_says_why_there_was_no_answer(town: Town) -> None:
    """When no replica is left the flag is UH, when the time is over it is UT."""
    slow = town.replicas["pricing-1"].application
    assert slow is not None
    slow.reply = lambda seen: (200, str(time.sleep(1)))
    town.change("pricing-2", state="down")
    town.use(calling([route("pricing", timeout="0.1s")]))
    until(town.settled)
    assert town.call("rides-1", QUOTE).status_code == 504
    town.change("pricing-1", state="down")
    until(lambda: town.call("rides-1", QUOTE).status_code == 503)
    flags = until(lambda: {line["flags"] for line in town.replicas["rides-1"].access_log()} >= {"UT", "UH"})
    assert flags


def town_answerer(town: Town) -> str:
    """Return the replica of pricing that has got a call."""
    return next(node for node in ("pricing-1", "pricing-2") if town.replicas[node].seen())


def test_a_trace_goes_through_both_sidecars(make_town: Callable[..., Town]) -> None:
    """The trace that a caller has begun goes on in its sidecar, in the callee's, and in the header to the callee."""

    def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
        plain = sidecar(node, workloads)
        if node.service == "traces":
            return plain
        (traces,) = [one for one in workloads if one.service == "traces"]
        own = tracing(node.service)
        inbound = listener("inbound", node.inbound, http("inbound", local_route("app"), tracing=own))
        collector = static_cluster("traces", [{"pipe": {"path": traces.app}}])
        found = [inbound, listener_outbound(node, tracing=own)]
        return replace(plain, listeners=found, clusters=[*plain.clusters, collector])

    town = make_town(build=build)
    traces = town.add("traces")
    town.add("rides", calls=("pricing",))
    pricing = town.add("pricing")
    town.ready()
    assert town.call("rides-1", QUOTE, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}).status_code == 200
    _, trace, parent, _ = pricing.seen()[0].headers["traceparent"].split("-")
    assert trace == TRACE and parent != "b7ad6b7169203331"
    until(lambda: len([seen for seen in traces.seen() if seen.path == "/v1/traces"]) >= 2)


class Locks(grpc.GenericRpcHandler):
    """A gRPC service that answers every call with its name."""

    def __init__(self, name: str) -> None:
        self.name, self.calls = name, 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Answer whatever is called."""

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls += 1
            if request == b"fail":
                context.abort(grpc.StatusCode.UNAVAILABLE, "no power")
            return self.name.encode()

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def locks(make_town: Callable[..., Town]) -> Iterator[tuple[Town, list[Locks]]]:
    """A town in which rides calls two replicas of locks by gRPC."""
    town = make_town()
    town.add("rides", calls=("locks",), grpc_calls=("locks",))
    servers, handlers = [], []
    for number in (1, 2):
        replica: Replica = town.add("locks", number, speaks="grpc")
        server = grpc.server(futures.ThreadPoolExecutor(4))
        handlers.append(Locks(f"locks-{number}"))
        server.add_generic_rpc_handlers((handlers[-1],))
        server.add_insecure_port(f"unix:{replica.workload.app}")
        server.start()
        servers.append(server)
    town.ready()
    yield town, handlers
    for server in servers:
        server.stop(None).wait()


def test_grpc_calls_of_one_channel_are_spread(locks: tuple[Town, list[Locks]]) -> None:
    """One channel is one connection, and yet each replica gets every other call; a status passes as it is."""
    town, _ = locks
    port = town.replicas["rides-1"].workload.grpc_outbound["locks"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/bikeshare.locks.v1.LocksService/GetLock")
        answers = Counter(call(b"", timeout=10, wait_for_ready=True).decode() for _ in range(20))
        assert answers == {"locks-1": 10, "locks-2": 10}
        with pytest.raises(grpc.RpcError) as refused:
            call(b"fail", timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE and refused.value.details() == "no power"
        town.change("locks-2", state="draining")
        until(lambda: {call(b"", timeout=10) for _ in range(4)} == {b"locks-1"})
