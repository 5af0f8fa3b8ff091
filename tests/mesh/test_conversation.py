"""One stream of ADS, message by message: what is said next, when a cluster may go, what an ACK and a NACK change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lab_services.mesh.conversation import Answer, Conversation
from lab_services.mesh.resources import Message, Resources, cluster, from_plane
from lab_services.mesh.resources.messages import over_ads


def wish(*clusters: str, route: str = "a") -> Resources:
    """Return resources with these clusters and a listener whose route leads to one of them."""
    return Resources(
        listeners=[{"name": "out"}],
        clusters=[{"name": name} for name in clusters],
        routes=[{"name": "r", "to": route}],
        endpoints=[{"cluster_name": name} for name in clusters],
    )


class Envoy:
    """The other end: it takes every answer unless told to refuse a kind, and asks for what it then needs."""

    def __init__(self, *refuses: str) -> None:
        self.talk, self.refuses, self.log = Conversation(), set(refuses), list[str]()
        self._names: dict[str, list[str]] = {}
        self.ask("clusters")
        self.ask("listeners")

    def ask(self, kind: str, *names: str) -> None:
        """Subscribe to a kind, or change what is asked for."""
        self._names[kind] = list(names)
        assert self.talk.hear(kind, names, "", "") == ""

    def listen(self, wanted: Resources) -> list[Answer]:
        """Return the answers until there is no more, each of them replied to."""
        heard: list[Answer] = []
        while answer := self.talk.answer(wanted):
            assert self.talk.answer(wanted) is None, "said before the Envoy has replied"
            heard.append(answer)
            error = "no good" if answer.kind in self.refuses else ""
            self.log.append(self.talk.hear(answer.kind, self._names[answer.kind], answer.nonce, error))
            if answer.kind == "clusters":
                self._want("endpoints", [one["name"] for one in answer.found])
            if answer.kind == "listeners":
                self._want("routes", ["r"])
        return heard

    def _want(self, kind: str, names: list[str]) -> None:
        if self._names.get(kind) != names:
            self.ask(kind, *names)


def said(answers: Sequence[Answer]) -> list[str]:
    """Return kinds and names: "clusters a b"."""
    return [" ".join([one.kind, *(str(m.get("name") or m["cluster_name"]) for m in one.found)]) for one in answers]


def test_a_cluster_is_known_before_its_endpoints_and_its_routes() -> None:
    """The order is clusters, endpoints, listeners, routes, each after the reply to the one before."""
    assert said(Envoy().listen(wish("a"))) == ["clusters a", "endpoints a", "listeners out", "routes r"]


def test_nothing_is_said_twice_and_nothing_without_a_question() -> None:
    """What has been sent is not sent again; endpoints that nobody asked for are not sent at all."""
    envoy = Envoy()
    envoy.listen(wish("a"))
    assert envoy.listen(wish("a")) == []
    silent = Conversation()
    assert silent.answer(wish("a")) is None


def test_a_cluster_goes_after_the_routes_that_led_there() -> None:
    """Both clusters are known while the routes change; the old one leaves last."""
    envoy = Envoy()
    envoy.listen(wish("a"))
    moved = said(envoy.listen(wish("b", route="b")))
    assert moved[0] == "clusters b a" and moved.index("routes r") < moved.index("clusters b")
    assert envoy.listen(wish("b", route="b")) == []


def test_a_cluster_stays_while_the_routes_are_refused() -> None:
    """The Envoy lives by its old routes: what they lead to is not taken away, until it takes newer ones."""
    envoy = Envoy()
    envoy.listen(wish("a"))
    envoy.refuses = {"routes"}
    assert "clusters b" not in said(envoy.listen(wish("b", route="b"))) and envoy.talk.refused == {"routes"}
    envoy.refuses = set()
    assert said(envoy.listen(wish("b", route="better"))) == ["routes r", "clusters b", "endpoints b"]
    assert envoy.talk.refused == set()


def test_a_refused_answer_is_not_repeated() -> None:
    """After a NACK the plane is silent until it has something else to say."""
    envoy = Envoy("routes")
    envoy.listen(wish("a"))
    assert envoy.log[-1].startswith("NACK routes ") and envoy.log[-1].endswith(": no good")
    assert envoy.listen(wish("a")) == []
    assert said(envoy.listen(wish("a", route="other"))) == ["routes r"]


def test_a_cluster_told_anew_gets_its_endpoints_anew() -> None:
    """An Envoy that takes a cluster waits for its endpoints again, though they have not changed."""
    envoy = Envoy()
    envoy.listen(wish("a"))
    changed = replace(wish("a"), clusters=[{"name": "a", "connect_timeout": "2s"}])
    assert said(envoy.listen(changed)) == ["clusters a", "endpoints a"]


def test_only_the_reply_to_the_newest_answer_counts() -> None:
    """A message with an older nonce is neither ACK nor NACK; what it asks for counts."""
    talk = Conversation()
    talk.hear("clusters", (), "", "")
    first = talk.answer(wish("a"))
    assert first is not None
    assert talk.hear("clusters", (), "no such nonce", "late") == "" and talk.answer(wish("a")) is None
    assert talk.hear("clusters", (), first.nonce, "") == f"ACK clusters {first.version}"


def test_a_kind_that_no_plane_knows_is_not_answered() -> None:
    """A question for resources of another type keeps nobody from the others."""
    talk = Conversation()
    talk.hear("type.googleapis.com/envoy.service.runtime.v3.Runtime", ("x",), "", "")
    talk.hear("clusters", (), "", "")
    answer = talk.answer(wish("a"))
    assert answer is not None and answer.kind == "clusters"


def test_what_is_asked_over_rest_is_asked_on_the_stream() -> None:
    """Every source of the plane in a message is replaced, at any depth; the message itself stays as it was."""
    message: Message = {"deep": [cluster("pricing")], "own": {"api_config_source": {"cluster_names": ["other"]}}}
    found = over_ads(message)
    assert found["deep"][0]["eds_cluster_config"]["eds_config"] == {"resource_api_version": "V3", "ads": {}}
    assert message["deep"][0]["eds_cluster_config"]["eds_config"] == from_plane()
    assert found["own"] == message["own"]
