"""What spans and log lines may say of a request, and what stays inside."""

from __future__ import annotations

import pytest

from lab_services.telemetry.nats_calls import template
from lab_services.telemetry.privacy import PERSONAL, public_path, without_secrets


@pytest.mark.parametrize(
    ("path", "route", "shown"),
    [
        ("/rides/r-1/end", "/rides/{ride_id}/end", "/rides/r-1/end"),
        ("/wallets/ada", "/wallets/{rider_id}", "/wallets/{rider_id}"),
        ("/holds/r-1/captured", "/holds/{ride_id}/captured", "/holds/r-1/captured"),
        ("/a/b/c", "/{path}", "/{path}"),
        ("/ada", "/{name}", "/{name}"),
        ("/", "/", "/"),
    ],
)
def test_a_path_shows_things_and_no_riders(path: str, route: str, shown: str) -> None:
    """Ids of rides, bikes, stations and locks are kept; every other parameter is its name."""
    assert public_path(path, route) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer [hidden]"),
        ("got eyJhbGciOi.eyJzdWIi.c2ln", "got [hidden]"),
        ("nats://rides:secret@127.0.0.1:4222 refuses", "nats://[hidden]@127.0.0.1:4222 refuses"),
        ("GET http://x/wallets?rider=ada HTTP", "GET http://x/wallets HTTP"),
        ("card 4111 1111 1111 1111 refused", "card [hidden] refused"),
        ("card 4111-1111-1111-1111", "card [hidden]"),
        (
            "ride r-1 at station A1 after 12 minutes for 340 cents",
            "ride r-1 at station A1 after 12 minutes for 340 cents",
        ),
        ("is it there? yes", "is it there? yes"),
    ],
)
def test_secrets_are_cut_out_of_texts(text: str, shown: str) -> None:
    """Tokens, passwords, queries and card numbers go; what the city says of its rides stays."""
    assert without_secrets(text) == shown


def test_fields_are_personal_by_their_name() -> None:
    """Who logs a rider's id or a token as a field has it hidden; ids of things are shown."""
    assert all(PERSONAL.search(name) for name in ("rider_id", "Authorization", "set-cookie", "card_number", "eMail"))
    assert not any(PERSONAL.search(name) for name in ("ride_id", "bike_id", "station_id", "cents", "route", "status"))


@pytest.mark.parametrize(
    ("subject", "pattern"),
    [
        ("ride.ended.r-7", "ride.ended.*"),
        ("ride.ended.abc", "ride.ended.*"),
        ("command.wallet.hold.one%2E1", "command.wallet.hold.*"),
        ("lock.l-07.battery", "lock.*.battery"),
        ("storm.warning", "storm.warning"),
        ("dead.billing", "dead.billing"),
    ],
)
def test_a_subject_is_cut_to_its_pattern(subject: str, pattern: str) -> None:
    """Spans and series are named by the kind of message, never by the one ride that it is about."""
    assert template(subject) == pattern
