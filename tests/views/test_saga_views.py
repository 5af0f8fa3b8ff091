"""The states of a saga and its messages, as Mermaid and as text."""

from __future__ import annotations

import re

import pytest

from lab_services.bikeshare.start_steps import SagaStep
from lab_services.views import SagaMessage, SagaSequence, SagaView
from lab_services.views.saga import LOOKS, VISITS
from lab_services.views.saga_sequence import ARROWS
from tests.views.both_forms import HOSTILE, contrast

RUN = ("holding", "reserving", "cancelling")
TALK = [
    SagaMessage("starts", "wallet", "wallet.hold"),
    SagaMessage("wallet", "starts", "wallet.hold done", is_reply=True),
    SagaMessage("starts", "locks", "locks.unlock"),
]
CAST = ("starts", "wallet", "stations", "locks", "rides")

_STATE = re.compile(r'state "(?P<text>[^"]*)" as (?P<id>s\d+)')
_MOVE = re.compile(r"(?P<source>s\d+|\[\*\]) --> (?P<target>s\d+|\[\*\])(: (?P<text>[^#;<>\"]+))?")
_CLASS = re.compile(r"class (?P<id>s\d+) (?P<look>taken|stopped|ended)")
_DEFINED = re.compile(r"classDef (?P<look>\w+) (?P<style>[\w:#,-]+)")
_PERSON = re.compile(r"participant (?P<id>p\d+) as (?P<name>[^#;<>]+)")
_MESSAGE = re.compile(r"(?P<source>p\d+)(?P<line>->>|-->>|--x)(?P<target>p\d+): (?P<text>[^#;<>]+)")
_NOTE = re.compile(r"Note over p\d+(,p\d+)?: (?P<text>([^#;<>]|<br/>)+)")
_RECT = re.compile(r"rect rgba\([\d., ]+\)")
_END = re.compile("end")
ARROW_LINES = {(False, False): "->>", (True, False): "-->>", (False, True): "--x", (True, True): "--x"}


def _body(view: SagaView | SagaSequence) -> list[str]:
    """Return the statements after the description, whose closing brace must be the only one."""
    head, brace, body = view.mermaid().partition("\n    }\n")
    assert brace and head.count("{") == 1 and "}" not in head and head.count("accTitle: ") == 1
    return [line.strip() for line in body.split("\n")]


def _states(view: SagaView) -> dict[str, list[str]]:
    found = filter(None, map(_STATE.fullmatch, _body(view)))
    return {state["id"]: state["text"].split("<br/>") for state in found}


def _looks(view: SagaView) -> dict[str, str]:
    """Return the look of each state that has one, by the state's text without its number."""
    states = _states(view)
    marked = filter(None, map(_CLASS.fullmatch, _body(view)))
    return {states[one["id"]][0].split(". ")[-1]: one["look"] for one in marked}


# --- states ---


def test_the_states_and_ways_of_diagram_and_text_are_the_same() -> None:
    """Every arrow of the Mermaid source, with what leads there and whether it was taken, is a line of the text."""
    view = SagaView("One start", RUN)
    names = {number: text[0].split(". ")[-1] for number, text in _states(view).items()}
    moves = [move for move in map(_MOVE.fullmatch, _body(view)) if move and move["text"]]
    drawn = [f"{names[move['source']]} -> {names[move['target']]}: {move['text']}" for move in moves]
    told = str(view).split("  all ways:\n")[1].split("\n")
    assert drawn == [line.strip() for line in told] and len(drawn) == 11
    assert [line for line in drawn if line.endswith("(taken)")] == [
        "holding -> reserving: done (taken)",
        "reserving -> cancelling: silence or overdue (taken)",
    ]


def test_the_way_and_its_stop_are_told_in_words_and_by_numbers() -> None:
    """Visited states carry their numbers, the last one says so; colours only repeat that."""
    view = SagaView("One start", RUN)
    assert list(_states(view).values())[:5] == [
        ["1. holding", "wallet.hold"],
        ["2. reserving", "stations.reserve"],
        ["unlocking", "locks.unlock, pivot"],
        ["starting", "rides.start"],
        ["3. cancelling", "stations.cancel", "stopped here"],
    ]
    assert _looks(view) == {"holding": "taken", "reserving": "taken", "cancelling": "stopped"}
    assert str(view).split("\n")[:4] == [
        "One start: stopped in cancelling",
        "  1. holding (wallet.hold): done",
        "  2. reserving (stations.reserve): silence or overdue",
        "  3. cancelling (stations.cancel): stopped here",
    ]


@pytest.mark.parametrize("end", ["started", "refused"])
def test_an_end_is_no_stop(end: str) -> None:
    """A run that has come to one of the two ends has ended there."""
    view = SagaView("One start", ["holding", end])
    assert str(view).startswith(f"One start: ended in {end}\n") and "stopped" not in str(view)
    assert [f"2. {end}", "ended here"] in _states(view).values()
    assert _looks(view)[end] == "ended"


def test_a_command_said_again_is_counted() -> None:
    """A state that follows itself has no arrow to itself: it keeps its numbers, many of them shortened, and a count."""
    view = SagaView("One start", ["holding", *["unlocking"] * 9])
    text = ["2, 3, 4, ... 10. unlocking", "locks.unlock, pivot", "9 times", "stopped here"]
    assert text in _states(view).values() and "s2 --> s2" not in view.mermaid()
    assert "  9. unlocking (locks.unlock, pivot): said again\n  10. unlocking" in str(view)


def test_what_is_not_planned_is_said() -> None:
    """A move that is no way of the saga, and a state that is none, are drawn and named as such."""
    view = SagaView("One start", ["holding", "unlocking", "napping"])
    assert "    holding -> unlocking: not a planned way (taken)" in str(view)
    assert "  3. napping (no state of this saga): stopped here" in str(view)
    assert ["3. napping", "no state of this saga", "stopped here"] in _states(view).values()


def test_a_reason_that_does_not_fit_is_not_glossed_over() -> None:
    """Who turns back from a silent pivot has not been refused: both forms tell what was known."""
    silent = SagaView("One start", ["unlocking", "cancelling"], ["silence"])
    assert "    unlocking -> cancelling: refused\n" in str(silent)
    assert "    unlocking -> cancelling: silence, not a planned way (taken)" in str(silent)
    for state, target, reason in (("unlocking", "cancelling", "refused"), ("reserving", "cancelling", "done")):
        assert "not a planned way" not in str(SagaView("One start", [state, target], [reason]))


def test_a_saga_that_has_not_begun_shows_its_ways() -> None:
    """Without a run there is the plan, and nothing is marked."""
    view = SagaView("A start", ())
    assert str(view).startswith("A start: not begun\n  all ways:\n") and not _looks(view)
    assert "text/vnd.mermaid" in view._repr_mimebundle_() and "taken" not in str(view)
    assert SagaView("Nothing", (), (), ()).mermaid().startswith("stateDiagram-v2")


def test_a_saga_that_is_stuck_is_cut_and_counted() -> None:
    """Of a thousand repetitions the first and the last are told, with their numbers: where it stopped above all."""
    view = SagaView("One start", [*["holding"] * 1000, "reserving"])
    assert f"  ... {1001 - VISITS} states left out\n  972. holding" in str(view)
    assert "  30. holding (wallet.hold): ...\n" in str(view) and len(str(view).split("\n")) < VISITS + 20
    assert "  1000. holding (wallet.hold): done\n  1001. reserving (stations.reserve): stopped here\n" in str(view)
    assert ["1, 2, 3, ... 1000. holding", "wallet.hold", "1,000 times"] in _states(view).values()


def test_steps_may_be_plain_tuples() -> None:
    """The steps of another saga are data: three of these fields are enough."""
    view = SagaView("Another", ["doing", "undoing"], (), [("a.do", "doing", "a.undo", "undoing")], "well", "off")
    assert view.steps == (SagaStep("a.do", "doing", "a.undo", "undoing"),)
    assert "    doing -> undoing: silence or overdue (taken)" in str(view)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_state_can_neither_break_the_diagram_nor_add_to_it(text: str) -> None:
    """Every statement of the diagram is still one of ours, and no more of them than asked."""
    kinds = (_STATE, _MOVE, _DEFINED, _CLASS)
    view = SagaView(text, ["holding", text, "x" + text], [text, text])
    found = [[bool(kind.fullmatch(line)) for kind in kinds].index(True) for line in _body(view)]
    assert [found.count(kind) for kind in range(4)] == [10, 11 + 2 + 3, 3, 3]
    step = SagaStep(text, text + "1", text + "2", text + "3")
    other = SagaView(text, [text + "1", text + "3"], (), [step], text + "4", text + "5")
    assert all(any(kind.fullmatch(line) for kind in kinds) for line in _body(other))


def test_every_look_can_be_read() -> None:
    """The colours of a state have a contrast of at least 4.5 to 1, in either theme: each look brings both."""
    for look in LOOKS.values():
        style = dict(part.split(":") for part in look.split(","))
        assert contrast(style["color"], style["fill"]) >= 4.5


# --- messages ---


def _drawn(view: SagaSequence, first: int = 1) -> list[str]:
    """Read the messages of the diagram back into the words of the text."""
    body = _body(view)
    names = {person["id"]: person["name"] for person in filter(None, map(_PERSON.fullmatch, body))}
    lines = []
    for number, message in enumerate(filter(None, map(_MESSAGE.fullmatch, body)), start=first):
        mark, _, text = message["text"].rpartition("WRONG: " if "WRONG" in message["text"] else "MISSING: ")
        end = f"  <- {'MISSING' if '(never said)' in text else 'WRONG'}" if number == view.wrong else ""
        lines.append(f"  {number}. {names[message['source']]} -> {names[message['target']]}: {text}{end}")
        assert mark == "" and ("WRONG" in message["text"] or "MISSING" in message["text"]) == bool(end)
    return lines


def test_diagram_and_text_have_the_same_messages_and_the_same_mark() -> None:
    """Numbers, ends, words and the mark of the wrong one are the same; its reason stands behind it in both."""
    reason = "locks.unlock before stations.reserve was even said: a bolt opens for a bike that is another rider's"
    view = SagaSequence("One start", TALK, 3, reason, CAST)
    assert str(view).split("\n") == ["One start: 3 messages, number 3 is wrong", *_drawn(view), f"     {reason}"]
    [note] = filter(None, map(_NOTE.fullmatch, _body(view)))
    assert note["text"].replace("<br/>", " ") == reason.replace("'", "\u2019")
    assert _RECT.fullmatch(_body(view)[-4]) and _END.fullmatch(_body(view)[-1])


def test_a_run_without_a_mistake_says_so() -> None:
    """Nothing is marked, and the headline tells it."""
    view = SagaSequence("One start", TALK, people=CAST)
    assert str(view).startswith("One start: 3 messages, none of them wrong\n") and "rect" not in view.mermaid()
    assert _drawn(view) == str(view).split("\n")[1:]


def test_a_missing_message_is_drawn_as_one_that_was_never_said() -> None:
    """It has a number and an arrow of its own, and is not counted as a message."""
    missing = SagaMessage("starts", "stations", "stations.reserve", missing=True)
    view = SagaSequence("One start", [*TALK, missing], 4, "nobody says it", CAST)
    assert str(view).split("\n")[0] == "One start: 3 messages, one is missing"
    assert str(view).split("\n")[-2:] == [
        "  4. starts -> stations: stations.reserve (never said)  <- MISSING",
        "     nobody says it",
    ]
    assert "MISSING: stations.reserve (never said)" in view.mermaid() and "--x" in view.mermaid()
    assert _drawn(view)[-1] == str(view).split("\n")[-2]


def test_people_stand_in_their_order_and_only_those_who_speak() -> None:
    """Whoever is not on the list stands behind; whoever says and hears nothing is left out."""
    talk = [*TALK, SagaMessage("starts", "unknown", "x")]
    names = [person["name"] for person in filter(None, map(_PERSON.fullmatch, _body(SagaSequence("x", talk))))]
    assert names == ["starts", "wallet", "locks", "unknown"]
    turned = SagaSequence("x", talk, people=CAST[::-1])
    names = [person["name"] for person in filter(None, map(_PERSON.fullmatch, _body(turned)))]
    assert names == ["locks", "wallet", "starts", "unknown"]


def test_the_kinds_of_message_differ_in_their_line() -> None:
    """A command is drawn through, a reply dashed, a missing one dashed with a cross."""
    for (is_reply, missing), line in ARROW_LINES.items():
        view = SagaSequence("x", [SagaMessage("a", "b", "c", is_reply, missing)])
        assert f"p0{line}p1: c" in view.mermaid()


@pytest.mark.parametrize(
    ("wrong", "first", "before", "after"), [(0, 1, 0, 940), (70, 20, 19, 921), (1000, 950, 949, 0)]
)
def test_endless_talk_is_cut_around_its_mistake(wrong: int, first: int, before: int, after: int) -> None:
    """Of a thousand messages both forms show the mistake and what led to it, with their own numbers."""
    view = SagaSequence("Storm", [("a", "b", f"number {number}") for number in range(1, 1001)], wrong, "it is")
    assert f"    autonumber {first}\n" in view.mermaid()
    shown = [line for line in str(view).split("\n") if re.match(r"  \d+\. ", line)]
    assert shown == _drawn(view, first) and len(shown) <= ARROWS
    assert all(line.split(". ")[0].strip() in line.split("number ")[1] for line in shown)
    for form in (str(view), view.mermaid()):
        assert (f"... {before} messages before" in form) == bool(before)
        assert (f"... and {after} more messages" in form) == bool(after)


@pytest.mark.parametrize("people", [1, 2, 5])
def test_no_line_of_a_note_is_wider_than_the_note(people: int) -> None:
    """Mermaid lets long lines hang out of a note: they are broken to fit the room between the first and the last."""
    talk = [SagaMessage("p0", f"p{number}", "x") for number in range(min(1, people - 1), people)]
    view = SagaSequence("x", talk, 1, "word " * 60 + "x" * 200)
    [note] = filter(None, map(_NOTE.fullmatch, _body(view)))
    assert max(map(len, note["text"].split("<br/>"))) <= 22 * max(1, people - 1)
    assert f"over p0,p{people - 1}:" in note.group() or people == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_message_can_neither_break_the_sequence_nor_add_to_it(text: str) -> None:
    """Every statement is still one of ours."""
    talk = [SagaMessage(text, "b" + text, text), SagaMessage("b" + text, text, text, True)]
    first, *rest = _body(SagaSequence(text, talk, 2, text))
    kinds = (_PERSON, _MESSAGE, _RECT, _NOTE, _END)
    found = [[bool(kind.fullmatch(line)) for kind in kinds].index(True) for line in rest]
    assert first == "autonumber 1" and found == [0, 0, 1, 2, 1, 3, 4]


def test_no_message_is_said_in_words() -> None:
    """Without messages there is no empty diagram, only the sentence."""
    assert SagaSequence("x", ())._repr_mimebundle_() == {"text/plain": "x: 0 messages, none of them wrong"}


def test_the_description_of_a_diagram_is_its_text_twin() -> None:
    """A screen reader hears in accDescr, line for line, what the text says."""
    for view in (SagaView("One start", RUN), SagaSequence("One start", TALK, 3, "why", CAST)):
        described = view.mermaid().partition("accDescr {\n")[2].partition("\n    }\n")[0]
        title, *lines = str(view).replace("->", "-\u203a").replace("<-", "\u2039-").split("\n")
        assert [line.strip() for line in described.split("\n")] == [line.strip() for line in lines]
        assert f"accTitle: {title}\n" in view.mermaid()
