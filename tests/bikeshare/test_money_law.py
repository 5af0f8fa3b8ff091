"""The money law under random calls: whatever riders do in whatever order, no cent appears or disappears."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from lab_services.bikeshare import wallet
from lab_services.bikeshare.laws import audit
from tests.bikeshare.town import in_this_process

CENTS = some.sampled_from([0, 1, 340, 2000, 2001, 5000])
RIDE = some.integers(0, 2)
STEPS = some.lists(
    some.one_of(
        some.tuples(some.just("hold"), RIDE, some.integers(0, 1), CENTS),
        some.tuples(some.just("captured"), RIDE, CENTS),
        some.tuples(some.just("released"), RIDE),
        some.tuples(some.just("wallet"), some.integers(0, 1), CENTS),
    ),
    max_size=15,
)
number = count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wallet")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_DIR", str(folder))
        with in_this_process(wallet.app) as client:
            yield client


def act(client: httpx.Client, example: int, step: tuple) -> int:
    """Do one step of the riders and rides of this example; return the status."""
    kind, who, *rest = step
    if kind == "wallet":
        return client.put(f"/wallets/m-{example}-{who}", json={"deposited_cents": rest[0]}).status_code
    if kind == "hold":
        body = {"rider_id": f"m-{example}-{rest[0]}", "cents": rest[1]}
        return client.put(f"/holds/m-{example}-{who}", json=body).status_code
    body = {"cents": rest[0]} if rest else None
    return client.put(f"/holds/m-{example}-{who}/{kind}", json=body).status_code


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_random_steps_keep_the_money_law(client: httpx.Client, folder: Path, steps: list[tuple]) -> None:
    """Any sequence of wallets, holds, captures and releases, also twice over, leaves every wallet adding up."""
    example = next(number)
    client.put(f"/wallets/m-{example}-0", json={"deposited_cents": 5000})
    for step in steps:
        assert act(client, example, step) in (200, 201, 402, 404, 409, 422)
        before = stored(client, example)
        assert act(client, example, step) in (200, 402, 404, 409, 422)
        assert stored(client, example) == before, f"{step} moved money when it came again"
    assert audit(folder).broken == ()


def stored(client: httpx.Client, example: int) -> str:
    return client.get("/wallets", params={"ids": f"m-{example}-0,m-{example}-1"}).text
