"""The round: every look is a function without arguments that returns one finding."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from . import machine, programs, residue
from .finding import Diagnosis, Finding

Look = Callable[[], Finding]

LOOKS: tuple[Look, ...] = (
    machine.system,
    machine.python,
    programs.packages,
    programs.nats,
    programs.deno,
    programs.envoy,
    programs.durable,
    programs.ads,
    machine.disk,
    machine.fork,
    machine.watching,
    machine.proxies,
    machine.neighbour,
    residue.leftovers,
    *(programs.optional(name) for name in programs.SYSTEM_PROGRAMS),
)


def examine(looks: tuple[Look, ...] = LOOKS) -> Diagnosis:
    """Look at everything at once and return what was found; takes a second or two and changes nothing.

    A look that breaks down is a finding of its own, never an end of the examination.
    """
    with ThreadPoolExecutor(len(looks)) as pool:
        return Diagnosis(tuple(pool.map(_look, looks)))


def _look(look: Look) -> Finding:
    try:
        return look()
    except Exception as error:
        name = getattr(look, "__name__", "a look")
        return Finding(name, False, f"could not be looked at: {type(error).__name__}: {error}", "course doctor --json")
