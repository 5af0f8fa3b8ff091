"""Wait until the city of chapter 05 is quiet: only then do its laws have to hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx

from lab_services.broker.streams import read_streams

if TYPE_CHECKING:
    from lab_services.lab import Lab

QUIET_SECONDS = 60.0
LOOK_SECONDS = 0.1
LOOKS = 2  # in a row: what is between two of these places is in none of them for a moment


def until_quiet(lab: Lab, seconds: float = QUIET_SECONDS) -> None:
    """Return when no start is under way, no outbox has a row, and every message in a stream has been worked on.

    Raises:
        TimeoutError: what still moves, or does not move on.
    """
    give_up, quiet = time.monotonic() + seconds, 0
    with httpx.Client(trust_env=False, timeout=seconds) as client:
        while quiet < LOOKS:
            moving = _moving(lab, client)
            quiet = 0 if moving else quiet + 1
            if moving and time.monotonic() > give_up:
                raise TimeoutError(f"after {seconds:g} s: {', '.join(moving)}")
            time.sleep(LOOK_SECONDS)


def _moving(lab: Lab, client: httpx.Client) -> list[str]:
    starts = client.get(f"{lab['starts'].url}/starts?under_way=true").raise_for_status().json()["starts"]
    found = [f"{len(starts)} starts are under way, {starts[0]['ride_id']} is {starts[0]['state']}"] if starts else []
    for box in client.get(f"{lab['relay'].url}/outboxes").raise_for_status().json()["outboxes"]:
        found += [f"{box['rows']} rows wait in the outbox of {box['service']}"] if box["rows"] else []
    for stream in read_streams(lab["broker"].url):
        for each in (consumer for consumer in stream.consumers if consumer.name):
            waiting = each.waiting + each.unacknowledged
            found += [f"{waiting} messages of {stream.name} wait for {each.name}"] if waiting else []
        if stream.name == "RIDES":  # the map acknowledges nothing: it says itself how far it is
            behind = stream.messages - client.get(f"{lab['citymap'].url}/map").raise_for_status().json()["position"]
            found += [f"the map is {behind} messages behind"] if behind else []
    return found
