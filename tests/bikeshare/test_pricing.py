"""One contract, two technologies: every test here runs against pricing in Python and in TypeScript."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lab_services.servers import deno
from tests.bikeshare.town import (
    ROOT,
    STOP_SECONDS,
    Town,
    check_problem,
    client_of,
    deno_service,
    eventually,
    get,
    together,
    wait_until_ready,
)

SCRIPT = ROOT / "lab_services" / "bikeshare" / "pricing_v2.ts"
BAD_MINUTES = ["", "-1", "1441", "9999", "99999", "12.0", "12.5", "1e1", "1_2", " 12", "+12", "0x10", "twelve", "١٢"]


@pytest.fixture(params=["pricing", "pricing_v2"])
def pricing(request: pytest.FixtureRequest, town: Town) -> Iterator[httpx.Client]:
    with client_of(town.urls[request.param]) as client:
        yield client


@pytest.mark.parametrize(
    ("minutes", "cents"),
    [(0, 100), (1, 120), (12, 340), (94, 1980), (95, 2000), (96, 2000), (1440, 2000), ("012", 340)],
)
def test_a_quote_is_unlock_plus_minutes_up_to_the_hold(pricing: httpx.Client, minutes: int | str, cents: int) -> None:
    """A ride costs 100 and 20 a minute, and never more than 2000."""
    quote = pricing.get("/quote", params={"minutes": minutes})
    version = quote.json().pop("version")
    assert version in ("v1", "v2")
    assert quote.json() == {"minutes": int(minutes), "cents": cents, "tariff": "standard", "version": version}
    assert quote.headers["content-type"] == "application/json"


@pytest.mark.parametrize("minutes", BAD_MINUTES)
def test_bad_minutes_are_refused_by_name(pricing: httpx.Client, minutes: str) -> None:
    """What is not a whole number from 0 to 1440 is a 422 problem that names the field."""
    problem = check_problem(pricing.get("/quote", params={"minutes": minutes}), 422, "minutes")
    assert problem["errors"][0]["field"] == "minutes"
    assert problem["type"] == "https://bikeshare.example/problems/bad-input"


def test_missing_minutes_are_refused_by_name(pricing: httpx.Client) -> None:
    """A quote without minutes is a 422 problem, too; of two values the last one counts."""
    problem = check_problem(pricing.get("/quote"), 422, "minutes: Field required")
    assert problem["errors"] == [{"field": "minutes", "message": "Field required"}]
    assert pricing.get("/quote?minutes=1&minutes=12").json()["cents"] == 340


def test_the_tariff_says_how_a_quote_comes_about(pricing: httpx.Client) -> None:
    """The tariff names the numbers behind every quote."""
    expected = {"tariff": "standard", "unlock_cents": 100, "minute_cents": 20, "cap_cents": 2000}
    assert pricing.get("/tariff").json() == expected


def test_other_paths_and_methods_are_problems(pricing: httpx.Client) -> None:
    """An unknown path is 404, another method 405 with those that are allowed."""
    assert check_problem(pricing.get("/nothing"), 404)["type"] == "about:blank"
    answer = pricing.post("/quote?minutes=12")
    assert check_problem(answer, 405)["title"] == "Method Not Allowed"
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_health_answers(pricing: httpx.Client) -> None:
    """Both versions say that they are live and ready."""
    assert [pricing.get(f"/health/{each}").json() for each in ("live", "ready")] == [
        {"status": "live"}, {"status": "ready"}]  # fmt: skip


def test_the_two_versions_differ_in_their_name_only(town: Town) -> None:
    """Each answers under its own version, so that a canary can be told from the rest."""
    versions = [get(town.urls[name] + "/quote?minutes=1").json()["version"]
                for name in ("pricing", "pricing_v2")]  # fmt: skip
    assert versions == ["v1", "v2"]


def test_a_crowd_gets_the_same_quote(pricing: httpx.Client) -> None:
    """Twenty callers at once get twenty equal quotes."""
    quotes = together(20, lambda _: pricing.get("/quote?minutes=12").json()["cents"])
    assert set(quotes) == {340}


def test_version_two_needs_no_more_than_two_permissions(tmp_path: Path) -> None:
    """Without any other flag it listens on its PORT and ends by itself, with success, after SIGTERM."""
    with deno_service(tmp_path, port=0) as process:
        url = eventually(lambda: re.search(r"http://127\.0\.0\.1:\d+", (tmp_path / "log").read_text()))
        wait_until_ready(url.group())
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


def test_version_two_listens_on_a_socket_file_beside_a_sidecar(tmp_path: Path) -> None:
    """Run as the lab runs it in a mesh, it answers at its socket file alone, and says so."""
    data, place = tmp_path / "data", tmp_path / "app"
    data.mkdir()
    argv, env = deno.sidecar_command(deno.find(), SCRIPT, data, place, [])
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=os.environ | env)
    try:
        eventually(lambda: f"listens on {place}" in (tmp_path / "log").read_text())
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(place))) as client:
            assert client.get("http://pricing/quote?minutes=12").json()["version"] == "v2"
        assert not [one for one in psutil.Process(process.pid).net_connections("tcp") if one.status == "LISTEN"]
    finally:
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
