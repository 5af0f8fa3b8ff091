"""How long an event waits in the outbox: measured once at a real broker, shown as pictures with text twins."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab_services.bikeshare.outbox_delays import OutboxDelays, outbox_delays
from tests.servers.alone import broker_alone


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> OutboxDelays:
    """Measure once."""
    with broker_alone(tmp_path_factory.mktemp("broker")) as url:
        return outbox_delays(url)


def test_a_relay_that_is_woken_need_not_wait_for_its_next_look(measured: OutboxDelays) -> None:
    """The same rows at the same moments: with a look each second the slowest of them wait many times as long."""
    assert list(measured.milliseconds) == ["woken", "a look each second"]
    assert {len(values) for values in measured.milliseconds.values()} == {60}
    assert measured.ratio() > 3 and measured.p95_ms()["a look each second"] > 500


def test_the_pictures_say_it_in_words(measured: OutboxDelays) -> None:
    """Each picture is a PNG; its text twin has no number that differs from run to run."""
    for picture in (measured.picture(), measured.ratio_picture()):
        assert picture.png().startswith(b"\x89PNG") and "a look each second" in repr(picture)


def test_a_failed_measurement_says_why(tmp_path: Path) -> None:
    """Where no broker answers, the end of what the program said is in the error."""
    with pytest.raises(RuntimeError, match="the measurement has failed"):
        outbox_delays("nats://127.0.0.1:9")
