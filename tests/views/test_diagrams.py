"""The topology and the sequence of messages, as Mermaid and as text."""

from __future__ import annotations

import re

import pytest

from lab_services.runtime import states
from lab_services.runtime.states import ReplicaState, ServiceState
from lab_services.views import SequenceView, TopologyView
from lab_services.views.sequence import MESSAGES
from lab_services.views.state_words import LOOKS
from tests.views.both_forms import HOSTILE

CITY = (
    ServiceState(
        "rides",
        "run",
        states.READY,
        needs=("stations", "wallet"),
        calls=("notices", "pricing"),
        edges=("wallet", "notices"),
        replicas=(ReplicaState(1, "ready"), ReplicaState(2, "ready"), ReplicaState(3, "ready")),
    ),
    ServiceState("stations", "use", states.CRASHED),
    ServiceState("wallet", "use", states.STOPPED),
    ServiceState("notices", "use", states.PAUSED, needs=("rides",)),
)
TALK = [("rider", "rides", "POST /rides"), ("rides", "wallet", "PUT /holds/r-1", False), ("rides", "rides", "refuse")]

_NODE = re.compile(r'(?P<id>s\d+)(?P<open>[\[\](){}>/\\]+)"(?P<text>[^"]*)"(?P<close>[\[\](){}>/\\]+)')
_ARROW = re.compile(r'(?P<source>s\d+) (?P<line>-->|-\.->)(?P<weather>\|"weather"\|)? (?P<target>s\d+)')
_STYLE = re.compile(r"style s\d+ stroke-dasharray:5")
_PERSON = re.compile(r"participant (?P<id>p\d+) as (?P<name>[^#;<>]+)")
_MESSAGE = re.compile(r"(?P<source>p\d+)(?P<line>->>|-x)(?P<target>p\d+): (?P<text>[^#;<>]+)")


def _body(source: str) -> list[str]:
    """Return the statements after the description, whose closing brace must be the only one."""
    head, brace, body = source.partition("\n    }\n")
    assert brace and head.count("{") == 1 and "}" not in head and head.count("accTitle: ") == 1
    return [line.strip() for line in body.split("\n")]


def _drawn_arrows(view: TopologyView) -> list[str]:
    """Read the arrows of the flowchart back into the words of the text."""
    body = _body(view.mermaid())
    nodes = {node["id"]: node["text"].split("<br/>")[0] for node in filter(None, map(_NODE.fullmatch, body))}
    return [
        f"{nodes[arrow['source']]} {'needs' if arrow['line'] == '-->' else 'calls'} {nodes[arrow['target']]}"
        + (", through the weather" if arrow["weather"] else "")
        for arrow in filter(None, map(_ARROW.fullmatch, body))
    ]


def test_diagram_and_text_have_the_same_arrows() -> None:
    """Needs, calls and weather, read back from the Mermaid source, are the lines of the text twin."""
    view = TopologyView(CITY, "The city")
    told = [line.strip() for line in str(view).split("\n") if " needs " in line or " calls " in line]
    assert _drawn_arrows(view) == told
    assert told == [
        "rides needs stations",
        "rides needs wallet, through the weather",
        "rides calls notices, through the weather",
        "rides calls pricing",
        "notices needs rides",
    ]


def test_a_node_says_its_state_in_words_and_by_its_shape() -> None:
    """Every service is a node with name, state and number of replicas; the brackets are those of its state."""
    nodes = {node["id"]: node for line in _body(TopologyView(CITY).mermaid()) if (node := _NODE.match(line))}
    assert [node["text"] for node in nodes.values()] == [
        "rides<br/>ready, 3 replicas",
        "stations<br/>crashed",
        "wallet<br/>stopped",
        "notices<br/>paused",
        "pricing<br/>not in this system",
    ]
    for node, service in zip(nodes.values(), CITY, strict=False):
        assert (node["open"], node["close"]) == LOOKS[service.state].brackets


def test_the_description_of_a_diagram_is_its_text_twin() -> None:
    """A screen reader hears in accDescr, line for line, what the text says."""
    for view in (TopologyView(CITY, "The city"), SequenceView("One ride", TALK)):
        described = view.mermaid().partition("accDescr {\n")[2].partition("\n    }\n")[0]
        title, *lines = str(view).replace("->", "-\u203a").split("\n")
        assert [line.strip() for line in described.split("\n")] == [line.strip() for line in lines]
        assert f"accTitle: {title}\n" in view.mermaid()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_can_neither_break_a_flowchart_nor_add_to_it(text: str) -> None:
    """Every statement of the diagram is still a node, an arrow or a style of ours, and no more of them than asked."""
    service = ServiceState(text, "run", text, needs=(text + "1",), edges=(text + "1",))
    body = _body(TopologyView((service, ServiceState("wallet", "use", "stopped", calls=(text,))), text).mermaid())
    kinds = [[bool(kind.fullmatch(line)) for kind in (_NODE, _ARROW, _STYLE)].index(True) for line in body]
    assert kinds == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_message_can_neither_break_a_sequence_nor_add_to_it(text: str) -> None:
    """Every statement is still a participant or a message of ours."""
    first, *rest = _body(SequenceView(text, [(text, "b" + text, text), ("b" + text, text, text, False)]).mermaid())
    kinds = [[bool(kind.fullmatch(line)) for kind in (_PERSON, _MESSAGE)].index(True) for line in rest]
    assert first == "autonumber" and kinds == [0, 0, 1, 1]


def test_sequence_and_text_have_the_same_messages() -> None:
    """Sender, receiver, words and failure, read back from the Mermaid source, are the numbered lines of the text."""
    view = SequenceView("One ride", TALK)
    body = _body(view.mermaid())
    names = {person["id"]: person["name"] for line in body if (person := _PERSON.fullmatch(line))}
    drawn = []
    for message in filter(None, map(_MESSAGE.fullmatch, body)):
        text = message["text"].removeprefix("failed: ") + (" (failed)" if message["line"] == "-x" else "")
        drawn.append(f"{len(drawn) + 1}. {names[message['source']]} -> {names[message['target']]}: {text}")
    assert drawn == [line.strip() for line in str(view).split("\n")[1:]]
    assert drawn[1] == "2. rides -> wallet: PUT /holds/r-1 (failed)"


def test_endless_talk_is_cut_and_counted_in_both_forms() -> None:
    """A thousand messages draw the first ones and say how many more there were."""
    view = SequenceView("Storm", (("a", "b", f"number {number}") for number in range(1000)))
    assert len([line for line in _body(view.mermaid()) if _MESSAGE.fullmatch(line)]) == MESSAGES
    for form in (str(view), view.mermaid()):
        assert "1,000 messages" in form and f"and {1000 - MESSAGES} more messages" in form


def test_nothing_to_draw_is_said_in_words() -> None:
    """Without services or messages there is no empty diagram, only the sentence."""
    assert TopologyView(())._repr_mimebundle_() == {"text/plain": "Topology: 0 services, 0 arrows"}
    assert SequenceView("One ride", ())._repr_mimebundle_() == {"text/plain": "One ride: 0 messages"}


def test_a_sidecar_stands_in_the_box_of_its_service() -> None:
    """No box and no arrow of its own; its state is told all the same, and who tells it what to do."""
    city = (
        ServiceState("plane", "use", states.READY),
        ServiceState("rides", "use", states.READY, needs=("rides_sidecar",), calls=("wallet",)),
        ServiceState("rides_sidecar", "sidecar", states.CRASHED, needs=("plane",)),
        ServiceState("wallet", "use", states.READY),
    )
    view = TopologyView(city, "The city")
    assert _drawn_arrows(view) == ["rides calls wallet"]
    nodes = [node["text"] for node in filter(None, map(_NODE.fullmatch, _body(view.mermaid())))]
    assert nodes == ["plane<br/>ready", "rides<br/>ready<br/>sidecar crashed", "wallet<br/>ready"]
    assert str(view).splitlines()[0] == "The city: 3 services, 1 arrow"
    assert "  rides: ready, finished service; sidecar crashed, told by plane" in str(view).splitlines()
    alone = TopologyView(city[2:3], "The city")
    assert "rides_sidecar" in str(alone)
