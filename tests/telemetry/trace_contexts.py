"""What strangers may write into traceparent and tracestate, and what a service makes of it (W3C Trace Context)."""

from __future__ import annotations

from dataclasses import dataclass

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"
MEMBERS_33 = ",".join(f"m{number}=1" for number in range(33))
MEMBERS_32 = ",".join(f"m{number}=1" for number in range(32))
LONG = "a=" + "x" * 250 + ",b=" + "y" * 250  # 505 characters: they have to go on


@dataclass(frozen=True)
class Case:
    """One request: whether its trace goes on, and with which tracestate."""

    name: str
    headers: tuple[tuple[str, str], ...]
    goes_on: bool
    state: str = ""


def _parent(name: str, value: str, goes_on: bool = False) -> Case:
    return Case(name, (("traceparent", value),), goes_on)


def _state(name: str, *values: str, state: str = "") -> Case:
    return Case(name, (("traceparent", GOOD), *(("tracestate", value) for value in values)), True, state)


CASES = (
    Case("no header", (), False),
    _parent("valid", GOOD, True),
    _parent("flags that are not known", f"00-{TRACE}-{SPAN}-03", True),
    _parent("a future version", f"01-{TRACE}-{SPAN}-01", True),
    _parent("a future version that is longer", f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    _parent("a future version that is longer without a dash", f"cc-{TRACE}-{SPAN}-01what"),
    _parent("version 00 that is longer", f"{GOOD}-more"),
    _parent("the forbidden version", f"ff-{TRACE}-{SPAN}-01"),
    _parent("upper case", GOOD.upper()),
    _parent("trace id too short", f"00-{TRACE[1:]}-{SPAN}-01"),
    _parent("trace id too long", f"00-{TRACE}0-{SPAN}-01"),
    _parent("trace id of zeros", f"00-{'0' * 32}-{SPAN}-01"),
    _parent("span id of zeros", f"00-{TRACE}-{'0' * 16}-01"),
    _parent("span id with other letters", f"00-{TRACE}-{'g' * 16}-01"),
    _parent("no flags", f"00-{TRACE}-{SPAN}"),
    _parent("empty", ""),
    _parent("oversized", f"00-{TRACE}-{SPAN}-01-" + "x" * 8000),
    _parent("bytes of no text", "\xff\xfe\\x00"),
    Case("twice the same", (("traceparent", GOOD), ("traceparent", GOOD)), False),
    Case("two that differ", (("traceparent", GOOD), ("traceparent", GOOD.replace("01", "00"))), False),
    Case("tracestate alone", (("tracestate", "a=1"),), False),
    _state("one member", "rider=1", state="rider=1"),
    _state("members in two lines are one list", "a=1,b=2", "c=3", state="a=1,b=2,c=3"),
    _state("empty members", "a=1,,", state="a=1"),
    _state("32 members", MEMBERS_32, state=MEMBERS_32),
    _state("33 members", MEMBERS_33),
    _state("more than 500 characters", LONG, state=LONG),
    _state("far too long", "a=" + "x" * 20_000),
    _state("a key twice", "a=1,a=2"),
    _state("no list at all", "nonsense; drop table"),
)
