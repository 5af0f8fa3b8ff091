"""The whole city as real processes, started once for all tests of this folder."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from lab_services.bikeshare.laws import audit
from tests.bikeshare.town import (
    PYTHON_SERVICES,
    Town,
    deno_service,
    listening,
    python_services,
    url_of,
    wait_until_ready,
)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    with ExitStack() as stack:
        endpoints = {name: stack.enter_context(listening()) for name in PYTHON_SERVICES}
        urls = {name: url_of(endpoint) for name, endpoint in endpoints.items()}
        addresses = {f"{name.upper()}_URL": url for name, url in urls.items()}
        stack.enter_context(python_services(endpoints, folder, **addresses))
        reserved = stack.enter_context(socket.socket())
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        stack.enter_context(deno_service(folder / "pricing_v2", reserved.getsockname()[1], "--unstable-net"))
        urls["pricing_v2"] = url_of(reserved)
        for url in urls.values():
            wait_until_ready(url)
        client = httpx.Client(base_url=urls["gateway"], trust_env=False, timeout=20)
        yield Town(urls, stack.enter_context(client), folder)


@pytest.fixture
def lawful(town: Town) -> Iterator[None]:
    """Whatever the test did: afterwards the laws hold on the stored rows of the whole town."""
    yield
    assert audit(town.folder, fleet=64).broken == ()
