"""The whole city as real processes, started once for all tests of this folder."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab_services.bikeshare.laws import audit
from tests.bikeshare.town import (
    EVENT_SERVICES,
    MESSAGE_SERVICES,
    OUTBOXES,
    PYTHON_SERVICES,
    Town,
    broker,
    client_of,
    deno_service,
    eventually,
    listening,
    python_services,
    rows_of,
    url_of,
    wait_until_ready,
)


@contextmanager
def open_town(folder: Path, *more: str) -> Iterator[Town]:
    with ExitStack() as stack:
        endpoints = {name: stack.enter_context(listening()) for name in (*PYTHON_SERVICES, *more)}
        urls = {name: url_of(endpoint) for name, endpoint in endpoints.items()}
        addresses = {f"{name.upper()}_URL": url for name, url in urls.items()}
        if more:
            addresses["OUTBOXES"] = OUTBOXES
            addresses["NATS_URL"] = stack.enter_context(broker(folder / "broker"))
        stack.enter_context(python_services(endpoints, folder, **addresses))
        reserved = stack.enter_context(socket.socket())
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        stack.enter_context(deno_service(folder / "pricing_v2", reserved.getsockname()[1], "--unstable-net"))
        urls["pricing_v2"] = url_of(reserved)
        for url in urls.values():
            wait_until_ready(url)
        yield Town(urls, stack.enter_context(client_of(urls["gateway"])), folder)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town whose wallet and stations are also called directly, for rides that no rides service has accepted.

    The services of chapters 04 and 05 are here too: they have books and rides of their own.
    """
    with open_town(tmp_path_factory.mktemp("town"), *MESSAGE_SERVICES, *EVENT_SERVICES) as town:
        yield town


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town in which money and bikes move only by rides, so that all laws must hold in it at any quiet moment."""
    with open_town(tmp_path_factory.mktemp("city")) as city:
        yield city


@pytest.fixture
def lawful(town: Town) -> Iterator[None]:
    """Whatever the test did: afterwards the laws hold in the wallet and at the stations, each for itself."""
    yield
    for name in ("wallet", "stations"):
        assert audit(town.folder / name, fleet=64 if name == "stations" else None).broken == ()


@pytest.fixture
def lawful_city(city: Town) -> Iterator[None]:
    """Whatever the test did: afterwards the laws hold on the stored rows of the whole city."""
    yield
    eventually(lambda: not rows_of(city, "rides", "SELECT * FROM pending_undos"), within=15)
    assert audit(city.folder, fleet=64).broken == ()
