"""schemathesis as the checks use it: it finds what a document does not say, and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import pytest
from fastapi import FastAPI, HTTPException
from fastapi import Path as InPath
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.checks.contract import ContractTool, Tried
from tests.bikeshare.town import in_this_process

ROOT = Path(__file__).parents[2]
KNOWN = "b-1"
SLOW_SECONDS = 2.0  # longer than the whole run may take that is cut off
END_SECONDS = 20.0
WAITING_CHECK = """
import sys
from lab_services.checks.contract import ContractTool
with ContractTool() as tool:
    tool.get_ready()
    print(tool._process.pid, flush=True)
    sys.stdin.read()
"""
BikeId = Annotated[str, InPath(pattern="^[a-z]-[0-9]{1,9}$")]


class Bike(BaseModel):
    """What the document says of a bike."""

    model_config = ConfigDict(strict=True, extra="forbid")
    bike_id: str
    gears: int


def bikes(asked: list[str], *, refuses: tuple[int, ...] = (400, 404, 406, 413, 415), slow: float = 0) -> FastAPI:
    """Make a service of one bike that notes who was asked for; its document says that it refuses with these codes."""
    app = FastAPI(responses={code: {"content": {"application/json": {}}} for code in refuses})
    follow_http(app)
    answer_health(app)

    @app.get("/bikes/{bike_id}")
    def show(bike_id: BikeId) -> Bike:
        asked.append(bike_id)
        time.sleep(slow)
        if bike_id != KNOWN:
            raise HTTPException(404)
        return Bike(bike_id=bike_id, gears=7)

    return app


def tried(app: FastAPI) -> Tried:
    with ContractTool() as tool, in_this_process(app) as client:
        tool.get_ready()
        return tool.run(str(client.base_url).rstrip("/"), {"bike_id": KNOWN})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which a check runs; at the end nothing is in it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.iterdir())


def test_a_truthful_document_has_no_findings() -> None:
    """A service that does what its document says is asked for what exists and what does not, and nothing is found."""
    asked: list[str] = []
    found = tried(bikes(asked))
    assert found.findings == () and found.trouble == ""
    assert {"GET /bikes/{bike_id}", "PUT /bikes/{bike_id}"} <= found.operations and found.requests >= len(asked)
    assert {KNOWN} < set(asked)


def test_a_lie_is_found_with_the_line_that_asks_again() -> None:
    """A code that the document does not list is one finding, whose curl line gets the same answer once more."""
    app = bikes([], refuses=(400, 406, 413, 415))
    finding = next(each for each in tried(app).findings if each.rule == "status_code_conformance")
    assert "404" in finding.came and "404" in finding.told and finding.curl in str(finding)
    words = shlex.split(finding.curl)
    with in_this_process(app) as client:
        again = client.request(words[words.index("-X") + 1], httpx.URL(words[4]).raw_path.decode())
    assert again.status_code == 404 and finding.asked.startswith("GET /bikes/")


def test_an_answer_of_another_shape_is_found() -> None:
    """An answer that lacks a field of its schema is a finding, also when it is a 200."""
    app = bikes([])

    @app.get("/bikes", response_model=list[Bike])
    def show_all() -> Any:
        return JSONResponse([{"bike_id": KNOWN}])  # FastAPI looks at what is returned, not at this

    assert "response_schema_conformance" in {finding.rule for finding in tried(app).findings}


def test_a_run_that_is_cut_off_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes longer than a check may is ended, and its trouble names the limit."""
    monkeypatch.setenv("COURSE_CHECK_SECONDS", str(SLOW_SECONDS / 2))
    found = tried(bikes([], slow=SLOW_SECONDS))
    assert "no end after 0.85 s" in found.trouble


def test_a_service_that_is_away_is_trouble() -> None:
    """Without a document there are no findings, no operations, and a sentence of schemathesis."""
    with ContractTool() as tool:
        tool.get_ready()
        found = tool.run("http://127.0.0.1:9", {})
    assert (found.requests, found.operations, found.findings) == (0, frozenset(), ())
    assert "onnection" in found.trouble


def test_nothing_is_left_when_a_check_fails(folder: Path) -> None:
    """A check that fails between two lines leaves no process and no folder."""
    with pytest.raises(ZeroDivisionError), ContractTool() as tool:
        assert len(list(folder.iterdir())) == 1
        raise ZeroDivisionError
    assert tool._process.returncode is not None


def test_the_tool_ends_when_the_check_is_killed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """After kill -9 of the process of a check, schemathesis ends by itself, as its input has ended."""
    check = subprocess.Popen(
        [sys.executable, "-c", WAITING_CHECK], cwd=tmp_path_factory.mktemp("killed"), text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with check:
        assert check.stdout
        tool = psutil.Process(int(check.stdout.readline()))
        check.send_signal(signal.SIGKILL)
    psutil.wait_procs([tool], END_SECONDS)
    assert not tool.is_running()
