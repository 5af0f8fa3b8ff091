"""A stream that a check fills: all is kept, in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from nats.js.errors import NoStreamResponseError

from lab_services.checks.broker_floods import ACKNOWLEDGED_EACH, flood
from lab_services.checks.broker_probes import spying
from tests.servers.alone import broker_alone


def test_a_flood_is_kept_in_order(tmp_path: Path) -> None:
    """What is said at full speed is kept, each message in its place; the position of the last is told."""
    with broker_alone(tmp_path) as url, spying(url) as spy:
        spy.jetstream("add_stream", name="RIDES", subjects=["ride.>"])
        said = [(f"ride.{number}", b"%d" % number) for number in range(2 * ACKNOWLEDGED_EACH + 7)]
        assert flood(spy, said) == len(said)
        assert flood(spy, []) == 0
        sample = (1, ACKNOWLEDGED_EACH, ACKNOWLEDGED_EACH + 1, len(said))
        kept = [spy.jetstream("get_msg", "RIDES", position) for position in sample]
        assert [(message.subject, message.data) for message in kept] == [said[position - 1] for position in sample]


def test_a_flood_that_no_stream_takes_is_told(tmp_path: Path) -> None:
    """Without a stream the check hears of it."""
    with broker_alone(tmp_path) as url, spying(url) as spy, pytest.raises(NoStreamResponseError):
        flood(spy, [("ride.1", b"x")])
