"""How the state of a service is said, in words first; sign, colours and shape only repeat them."""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime import states
from ..runtime.states import ServiceState
from .html_table import Html, badge
from .plain_text import visible


@dataclass(frozen=True)
class Look:
    """How a state looks: a sign, a badge's two colours (contrast at least 4.5 to 1), the brackets of a Mermaid node."""

    sign: str
    background: str
    foreground: str
    brackets: tuple[str, str]


LOOKS = {
    states.READY: Look("\u25cf", "#1b6e35", "#ffffff", ("[", "]")),
    states.STARTING: Look("\u25d4", "#1f5fa8", "#ffffff", ("([", "])")),
    states.UNREADY: Look("\u25b3", "#8a4b00", "#ffffff", ("[/", "\\]")),
    states.STOPPED: Look("\u25cb", "#55606b", "#ffffff", ("(", ")")),
    states.PAUSED: Look("\u2225", "#5b3f95", "#ffffff", ("[/", "/]")),
    states.KILLED: Look("\u25a0", "#6b3a10", "#ffffff", (">", "]")),
    states.CRASHED: Look("\u2715", "#a51d2d", "#ffffff", ("{{", "}}")),
    states.REPLACED: Look("\u21aa", "#0f6674", "#ffffff", ("[[", "]]")),
}
UNKNOWN = Look("?", "#55606b", "#ffffff", ("(((", ")))"))

ORIGINS = {
    "run": "your code",
    "use": "finished service",
    "server": "server",
    "sidecar": "sidecar",
    "runtime": "part of the lab",
}


def look_of(state: str) -> Look:
    """Return the look of a state; a state nobody has named yet gets the one with the question mark."""
    return LOOKS.get(state, UNKNOWN)


def state_words(service: ServiceState) -> str:
    """Return "ready", "ready, 3 replicas" or "ready, 2 of 3 replicas (replica 2 killed)"."""
    words = visible(service.state, 40)
    if len(service.replicas) < 2:
        return words
    others = [replica for replica in service.replicas if replica.state != service.state]
    if not others:
        return f"{words}, {len(service.replicas)} replicas"
    named = ", ".join(f"replica {replica.number} {visible(replica.state, 40)}" for replica in others)
    return f"{words}, {len(service.replicas) - len(others)} of {len(service.replicas)} replicas ({named})"


def origin_words(service: ServiceState) -> str:
    """Return where the program comes from: the learner's code, a finished service, a server."""
    return ORIGINS.get(service.kind, visible(service.kind, 40))


def state_badge(service: ServiceState) -> Html:
    """Return the same words as `state_words`, on the state's colours."""
    look = look_of(service.state)
    return badge(state_words(service), look.sign, look.background, look.foreground)
