"""The costs of messages: measured once at two real brokers, shown as pictures with text twins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab_services.bikeshare.message_costs import MessageCosts, message_costs
from tests.servers.alone import broker_alone


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a broker for the measurement and return its address."""
    with broker_alone(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture(scope="module")
def costs(url: str) -> MessageCosts:
    """Measure once; both brokers are the same one here."""
    return message_costs(url, url)


def test_everything_is_measured(costs: MessageCosts) -> None:
    """Each way of publishing and each number of workers has a rate; each consumer's memory has a look at each step."""
    assert list(costs.publishing)[:3] == ["one after the other", "64 at once", "asynchronous"]
    assert list(costs.sharing) == ["1 worker", "2 workers", "3 workers"]
    assert all(rate > 0 for rate in (*costs.publishing.values(), *costs.sharing.values()))
    assert {len(grown) for grown in costs.memory.values()} == {41}


def test_waiting_work_is_shared(costs: MessageCosts) -> None:
    """Three workers whose bank takes its time write more bills a second than one."""
    assert costs.sharing["3 workers"] > costs.sharing["1 worker"]


def test_what_has_no_bound_fills_the_memory(costs: MessageCosts) -> None:
    """Who takes whatever comes holds more in memory than who asks for the next ones: the flood has 16 MB."""
    bounded, unbounded = costs.most_memory().values()
    assert unbounded > 8 and unbounded > 2 * bounded


def test_the_pictures_say_it_in_words(costs: MessageCosts) -> None:
    """Each picture is a PNG; its text twin has no number that differs from run to run, its alt text has them."""
    for picture in (costs.publishing_picture(), costs.sharing_picture(), costs.memory_picture()):
        assert picture.png().startswith(b"\x89PNG") and picture.alt != repr(picture)
    assert "whatever comes" in repr(costs.memory_picture()) and "3 workers" in repr(costs.sharing_picture())


def test_a_failed_measurement_says_why() -> None:
    """Where no broker answers, the end of what the program said is in the error."""
    with pytest.raises(RuntimeError, match="the measurement has failed"):
        message_costs("nats://127.0.0.1:9", "nats://127.0.0.1:9")
