"""The costs of a call: measured by the programs of lab 03, shown as a table and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab_services.bikeshare.call_costs import CallCosts, call_costs
from lab_services.bikeshare.interfaces import PROTOS, generated
from tests.running_labs import running_lab

WAYS = ["JSON, httpx", "JSON, aiohttp", "gRPC", "gRPC, one stream"]


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallCosts]:
    """Measure once, in one short turn."""
    with running_lab("03_rpc", tmp_path_factory.mktemp("costs"), shape="compare") as lab:
        yield call_costs(lab.folder, lab["parts_http"], lab["parts_grpc"], turns=1)


def test_every_way_is_measured(costs: CallCosts) -> None:
    """Each way has every number, none of them zero but perhaps the server's short time on a processor."""
    assert list(costs.ways) == WAYS
    for each in costs.ways.values():
        assert all(value > 0 for name, value in each.items() if name != "server_microseconds"), each


def test_the_bytes_are_those_of_the_wire(costs: CallCosts) -> None:
    """What travels for a call is more than its body, and less in a stream than in single calls."""
    wire = {name: each["wire_bytes"] for name, each in costs.ways.items()}
    assert costs.bodies["protobuf"] < costs.bodies["JSON"] < wire["JSON, aiohttp"]
    assert costs.bodies["protobuf"] < wire["gRPC, one stream"] < wire["gRPC"] < wire["JSON, httpx"]


def test_ratios_are_to_grpc(costs: CallCosts) -> None:
    """The way that the others are compared to has the ratio 1."""
    assert costs.ratios()["gRPC"] == 1 and list(costs.ratios("functions")) == WAYS


def test_table_and_picture_say_the_same(costs: CallCosts) -> None:
    """The picture is a PNG with a text twin that is the same at each run; the numbers are in the table and in alt."""
    picture = costs.picture()
    assert picture.png().startswith(b"\x89PNG")
    assert all(way in repr(costs) and way in repr(picture) for way in WAYS)
    assert not any(letter.isdigit() for letter in repr(picture)) and "microseconds" in picture.alt


def test_a_failed_measurement_says_why(costs: CallCosts) -> None:
    """When nobody answers, the end of what the program said is in the error."""

    class Nobody:
        url = "http://127.0.0.1:9"
        pids = (1,)

    folder = Path(__file__).parents[2] / "labs" / "03_rpc"
    with pytest.raises(RuntimeError, match=r"compare_costs\.py has failed"):
        call_costs(folder, Nobody(), Nobody(), turns=1)


def test_the_generated_code_can_be_read(tmp_path: Path) -> None:
    """Stub and skeleton of a .proto come as text; what protoc refuses is told in its words."""
    code = generated(PROTOS / "bikeshare" / "locks" / "v1" / "locks.proto")
    assert "class LocksServiceStub" in code and "class LocksServiceServicer" in code
    broken = tmp_path / "broken.proto"
    broken.write_text("message {")
    with pytest.raises(ValueError, match=r"broken\.proto"):
        generated(broken)
