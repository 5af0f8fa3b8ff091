"""Subjects of the city: where a message is said is what it is about. Pure functions, for moves.py and boards.py.

    bike.<city>.<station>.<event>    at this station a bike was taken or returned (event: "taken" or "returned")
    bike.<city>                      a word to the whole city

A name of a city or a station comes from outside: any text of at most 300 bytes (Name). In a subject it is one token:
not empty, without dots, blanks and line breaks, and none of the wildcards `*` and `>`. Two names that differ in
anything, be it only in a capital letter, have two tokens; name_of gives the very name back. Three bytes for each byte
of a name are fine: NATS takes subjects of about 4,000, and hangs up on whoever sends a longer one.

A board wants a city, a station and an event, or any of them (None). filters() returns the subjects to subscribe to, so
that the board hears each message that it wants once, and no other one. A board of any station and any event hears the
words to its city too, or with any city the words to all cities; a board of one station or one event hears no words.
"""

from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import AfterValidator

MOST_NAME_BYTES = 300


def _short(name: str) -> str:
    if len(name.encode()) > MOST_NAME_BYTES:
        raise ValueError(f"more than {MOST_NAME_BYTES} bytes")
    return name


Name = Annotated[str, AfterValidator(_short)]


# --- your turn 4.1 ---
EMPTY = "="  # quote never writes one


def token(name: str) -> str:
    """Return the one token that stands for a name."""
    # One possibility: percent-encoding can be undone. Of all signs it leaves only _ . - ~ as they are: the dot is ours.
    return quote(name, safe="").replace(".", "%2E") or EMPTY


def name_of(token: str) -> str:
    """Return the name that a token stands for; of one that stands for none, anything, or a ValueError."""
    return unquote(token.removeprefix(EMPTY))


def filters(city: str | None, station: str | None, event: str | None) -> list[str]:
    """Return what a board subscribes to; None: any."""
    place = "*" if city is None else token(city)  # `if city` would take the empty name for none
    if station is None and event is None:
        return [f"bike.{place}", f"bike.{place}.>"]  # `>` is one token or more: the word itself is said above it
    return [f"bike.{place}.{'*' if station is None else token(station)}.{event or '*'}"]


# --- end 4.1 ---


def move_subject(city: str, station: str, event: str) -> str:
    """Return where a move of a bike is said."""
    return f"bike.{token(city)}.{token(station)}.{event}"


def word_subject(city: str) -> str:
    """Return where a word to a whole city is said."""
    return f"bike.{token(city)}"


def place_of(subject: str) -> dict[str, str]:
    """Return what a subject says: the city, and of a move the station and the event.

    Raises:
        ValueError: it is none of ours.
    """
    root, *tokens = subject.split(".")
    if root != "bike" or len(tokens) not in (1, 3):
        raise ValueError(f"{subject[:100]!r} is no subject of a move or a word")
    place = {"city": name_of(tokens[0])}
    return place if len(tokens) == 1 else place | {"station": name_of(tokens[1]), "event": tokens[2]}
