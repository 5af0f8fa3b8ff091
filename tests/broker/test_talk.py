"""The notes of nats-server become arrows: who, to whom, on which subject; the same words in every run."""

from __future__ import annotations

from lab_services.broker.talk import Spoken, conversation

NAMES = {5: "rides-1", 6: "map-1", 7: "billing-1", 8: "billing-2", 9: "", 10: "overhearing"}
INBOX = "_INBOX.KAvlmTHOxYnGPYajmvRwTF.KAvlmTHOxYnGPYajmvRwXU9319"
ACK = "$JS.ACK.RIDES.billing.{}.7.7.1795885944723022172.0"


def note(cid: int, what: str, user: str = "") -> str:
    """Return one note as nats-server 2.15.1 writes it: "<<- [PUB a  3]" came in, "->> [MSG a 1 3]" went out."""
    client = "v2.16.0:python3" + (f":{NAMES[cid]}" if NAMES[cid] else "")
    who = f'"{client}" - ' + (f'"$G/user:{user}" - ' if user else "")
    return f"[26478] 2026/11/28 17:12:24.716597 [TRC] 127.0.0.1:32980 - cid:{cid} - {who}{what}"


def drawn(*notes: str, inner: bool = True) -> list[str]:
    """Return the arrows as text."""
    return [
        f"{s.sender} -> {s.receiver}: {s.what}{'' if s.ok else ' (failed)'}"
        for s in conversation(notes)
        if inner or not s.inner
    ]


def test_every_receiver_of_a_message_has_an_arrow() -> None:
    """A message that two get has two arrows, by name; one that nobody gets goes to the broker; notes of more, too."""
    assert drawn(
        note(5, "<<- [PUB ride.ended  14]"),
        note(5, '<<- MSG_PAYLOAD: ["secr..."]'),
        note(7, "->> [MSG ride.ended 1 14]"),
        note(7, '->> MSG_PAYLOAD: ["secr..."]'),
        note(6, "->> [MSG ride.ended 2 14]"),
        note(5, "<<- [HPUB storm  18 32]"),
        note(6, "->> [HMSG storm 3 18 32]"),
        note(5, "<<- [PUB nobody.hears 3]"),
        note(5, "<<- [SUB ride.* 3]"),
        note(5, "<<- [PING]"),
        "[1] 2026/11/28 17:12:24.214428 [INF] Reloaded: trace = true",
        "[1] 2026/11/28 17:12:24.727564 [TRC] JETSTREAM - <<- [SUB $JSC.CI.$G.RIDES.billing  59]",
        "",
    ) == [
        "rides-1 -> billing-1: ride.ended",
        "rides-1 -> map-1: ride.ended",
        "rides-1 -> map-1: storm",
        "rides-1 -> broker: nobody.hears",
    ]


def test_a_group_shares_and_two_senders_do_not_mix() -> None:
    """Each of two equal messages goes to the one that got it; a delivery belongs to the latest that it can be of."""
    assert drawn(
        note(5, "<<- [PUB ride.ended  3]"),
        note(7, "->> [MSG ride.ended 1 3]"),
        note(5, "<<- [PUB ride.ended  3]"),
        note(8, "->> [MSG ride.ended 1 3]"),
        note(5, "<<- [PUB ride.ended  3]"),
        note(6, "<<- [PUB ride.ended  4]"),
        note(7, "->> [MSG ride.ended 1 3]"),
        note(8, "->> [MSG ride.ended 1 4]"),
    ) == [
        "rides-1 -> billing-1: ride.ended",
        "rides-1 -> billing-2: ride.ended",
        "rides-1 -> billing-1: ride.ended",
        "map-1 -> billing-2: ride.ended",
    ]


def test_an_answer_is_called_a_reply() -> None:
    """The random subject of an answer is shown as what it answers; one that nobody asked for here as a reply."""
    assert drawn(
        note(9, f"<<- [PUB lock.battery {INBOX} 9]"),
        note(6, f"->> [MSG lock.battery 1 {INBOX} 9]"),
        note(6, f"<<- [PUB {INBOX}  2]"),
        note(9, f"->> [MSG {INBOX} 1 2]"),
        note(6, "<<- [PUB _INBOX.earlier  2]"),
        note(9, "->> [MSG _INBOX.earlier 1 2]"),
    ) == [
        "unnamed -> map-1: lock.battery",
        "map-1 -> unnamed: reply to lock.battery",
        "map-1 -> unnamed: reply",
    ]


def test_a_stream_delivers_and_is_answered() -> None:
    """What a stream delivers comes from the broker, a second time with its count; its own traffic can be left out."""
    notes = [
        note(5, f"<<- [PUB ride.ended {INBOX} 6]"),
        note(5, f"->> [MSG {INBOX} 1 26]"),
        note(5, '->> MSG_PAYLOAD: ["{\\"st..."]'),
        note(7, "<<- [PUB $JS.API.CONSUMER.MSG.NEXT.RIDES.cam3Tt0 _INBOX.a 35]"),
        note(7, f"->> [MSG ride.ended 4 {ACK.format(1)} 6]"),
        note(7, f"<<- [PUB {ACK.format(1)}  4]"),
        note(7, '<<- MSG_PAYLOAD: ["-NAK"]'),
        note(7, f"->> [MSG ride.ended 4 {ACK.format(2)} 6]"),
        note(7, f"<<- [PUB {ACK.format(2)}  0]"),
        note(7, "->> [HMSG _INBOX.b 4 81 81]"),
        note(5, f"<<- [PUB ride.ended {INBOX}2 6]"),
        note(5, f"->> [MSG {INBOX}2 1 98]"),
        note(5, '->> MSG_PAYLOAD: ["{\\"er..."]'),
    ]
    assert drawn(*notes) == [
        "rides-1 -> broker: ride.ended",
        "broker -> rides-1: reply to ride.ended",
        "billing-1 -> broker: $JS.API.CONSUMER.MSG.NEXT.RIDES",
        "broker -> billing-1: ride.ended",
        "billing-1 -> broker: nak of ride.ended",
        "broker -> billing-1: ride.ended (delivery 2)",
        "billing-1 -> broker: ack of ride.ended",
        "broker -> billing-1: status",
        "rides-1 -> broker: ride.ended",
        "broker -> rides-1: reply to ride.ended (failed)",
    ]
    assert drawn(*notes, inner=False) == [
        "rides-1 -> broker: ride.ended",
        "broker -> billing-1: ride.ended",
        "broker -> billing-1: ride.ended (delivery 2)",
        "rides-1 -> broker: ride.ended",
    ]


def test_payloads_of_two_connections_do_not_mix() -> None:
    """Notes of two connections may lie between a message and its first characters."""
    assert drawn(
        note(7, f"<<- [PUB {ACK.format(1)}  4]"),
        note(8, f"<<- [PUB {ACK.format(1)}  4]"),
        note(7, '<<- MSG_PAYLOAD: ["-NAK"]'),
        note(8, '<<- MSG_PAYLOAD: ["+TER..."]'),
    ) == ["billing-1 -> broker: nak of a message", "billing-2 -> broker: term of a message"]


def test_a_broker_with_users_names_them_behind() -> None:
    """The user stands behind the name; who looks on is not part of what was said."""
    assert drawn(
        note(10, "<<- [PUB overheard.1  0]", "lab"),
        note(5, "<<- [PUB ride.ended  3]", "rides"),
        note(6, "->> [MSG ride.ended 1 3]", "map"),
        note(9, "->> [MSG ride.ended 1 3]", "lab"),
        note(6, "<<- [PUB ride.ended  5]", "map"),
        note(10, "->> [MSG ride.ended 1 5]", "lab"),
    ) == ["rides-1 -> map-1: ride.ended", "rides-1 -> unnamed: ride.ended", "map-1 -> broker: ride.ended"]


def test_no_payload_is_ever_part_of_it() -> None:
    """What people say is in no field of what comes out, whatever a broker has noted."""
    found = conversation([note(5, "<<- [PUB ride.ended  3]"), note(5, '<<- MSG_PAYLOAD: ["Ada Lovelace"]')])
    assert found == [Spoken("rides-1", "broker", "ride.ended", ok=True, inner=False)]
