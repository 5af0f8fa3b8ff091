"""The gateway: one address for the city, which adds nothing and hides nothing."""

from __future__ import annotations

import gzip

import pytest
from fastapi import FastAPI, Request, Response

from lab_services.bikeshare import gateway
from tests.bikeshare.town import Town, check_problem, get, in_this_process, together


def test_every_service_is_behind_the_gateway(town: Town) -> None:
    """Each first part of a path leads to its service; the answers are those of the services."""
    for path, service in [
        ("/rides?limit=1", "rides"),
        ("/stations/A1", "stations"),
        ("/bikes/b-01", "stations"),
        ("/wallets/ada", "wallet"),
        ("/holds?rider_id=ada", "wallet"),
        ("/quote?minutes=3", "pricing"),
        ("/tariff", "pricing"),
        ("/notices?rider_id=ada", "notices"),
    ]:
        straight = get(town.urls[service] + path)
        assert (straight.status_code, straight.text) == (200, town.client.get(path).text)


def test_an_unknown_path_is_a_problem(town: Town) -> None:
    """What no service answers is 404, and the gateway's own health is its own."""
    check_problem(town.client.get("/nowhere/else"), 404, "nowhere")
    check_problem(town.client.get("/"), 404)
    assert town.client.get("/health/ready").json() == {"status": "ready"}


def test_a_service_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that cannot be reached, or has no address, is a 502 problem that names it."""
    monkeypatch.setenv("WALLET_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("RIDES_URL", raising=False)
    with in_this_process(gateway.app) as client:
        assert check_problem(client.get("/wallets/ada"), 502, "wallet", "ConnectError")["service"] == "wallet"
        assert check_problem(client.get("/rides"), 502, "rides")["service"] == "rides"


def test_requests_and_answers_pass_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Method, path, query, body and headers arrive as sent, and so do status, headers and body of the answer."""
    seen = {}
    echo = FastAPI()

    @echo.api_route("/{path:path}", methods=["GET", "PATCH", "DELETE"])
    async def answer(request: Request) -> Response:
        if request.url.path == "/health/ready":
            return Response()
        seen.update(raw=request.scope["raw_path"], query=request.url.query, key=request.headers["idempotency-key"])
        seen.update(method=request.method, body=await request.body())
        packed = {"etag": '"7"', "content-encoding": "gzip", "content-type": "text/plain"}
        reply = Response(gzip.compress(b"squeezed"), 418, packed)
        reply.set_cookie("a", "1")
        reply.set_cookie("b", "2")
        return reply

    with in_this_process(echo) as service, in_this_process(gateway.app) as client:
        monkeypatch.setenv("RIDES_URL", str(service.base_url).rstrip("/"))
        answer_ = client.patch("/rides/a%2Fb?q=%C3%BC&q=2", content=b"\x00\xff", headers={"idempotency-key": "k-1"})
    assert seen == {
        "raw": b"/rides/a%2Fb", "query": "q=%C3%BC&q=2", "key": "k-1", "method": "PATCH", "body": b"\x00\xff"
    }  # fmt: skip
    assert (answer_.status_code, answer_.text, answer_.headers["etag"]) == (418, "squeezed", '"7"')
    assert len(answer_.headers.get_list("set-cookie")) == 2
    assert len(answer_.headers.get_list("date")) == 1


def test_a_huge_body_is_refused(town: Town) -> None:
    """More than a million bytes are 413 at the gateway, and never reach a service."""
    check_problem(town.client.put("/wallets/big", content=b"x" * 1_000_001), 413, "1000000")


def test_a_crowd_passes_at_once(town: Town) -> None:
    """Forty callers at once are all answered."""
    assert set(together(40, lambda _: town.client.get("/tariff").status_code)) == {200}
