"""A broker with users: who may say what stands in a file of the lab; it is killed, paused, edited, and comes back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from nats.errors import Error

from lab_services.bikeshare.messages import connected, settled
from lab_services.lab import Lab
from tests.runtime.conftest import Maker, service, until, write

USERS = """
authorization {
  users = [
    { user: lab, password: $LAB_PASSWORD }
    { user: rides, password: $RIDES_PASSWORD, permissions: { publish: "ride.>", subscribe: ["ride.>", "_INBOX.>"] } }
    { user: map, password: $MAP_PASSWORD, permissions: { publish: { deny: "wallet.>" } } }
  ]
}
"""
TALKER = """
import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import connected, settled

heard = []

async def hear(message):
    heard.append(message.data.decode())

@asynccontextmanager
async def lifespan(app):
    async with connected() as app.state.client:
        await app.state.client.subscribe("ride.*", cb=hear)
        await settled(app.state.client)
        yield

app = FastAPI(lifespan=lifespan)
answer_health(app)

@app.post("/say/{subject}/{word}")
async def say(subject: str, word: str):
    await app.state.client.publish(subject, word.encode())
    await settled(app.state.client)

@app.get("/heard")
async def tell(): return heard
"""
SECONDS = 10.0


def make_broker(make_town: Maker) -> Lab:
    """Return a lab with a broker, whose users are `rides` and `map`; it is not started yet."""
    broker = service("broker", kind="server", target="nats", config="broker.conf")
    talkers = (service(name, needs=("broker",)) for name in ("rides", "map"))
    lab = make_town(broker, *talkers, rides=TALKER, map=TALKER)
    write(lab.folder / "broker.conf", USERS)
    return lab


def say(lab: Lab, who: str, subject: str, word: str) -> None:
    """Let a service publish a word."""
    httpx.post(f"{lab[who].url}/say/{subject}/{word}", timeout=SECONDS).raise_for_status()


def heard(lab: Lab, who: str = "map") -> list[str]:
    """Return the words that a service has heard."""
    words: list[str] = httpx.get(f"{lab[who].url}/heard", timeout=SECONDS).json()
    return words


def refused(lab: Lab, who: str) -> bool:
    """Tell whether the log of a service says that it may not charge wallets."""
    return 'permissions violation for publish to "wallet.charge"' in str(lab.logs(who)).lower()


def publishes(lab: Lab, who: str, subject: str) -> bool:
    """Tell whether the broker lets a service say something now: the lab hears it."""

    async def listen(client: Client) -> bool:
        subscription = await client.subscribe(subject)
        await settled(client)
        await asyncio.to_thread(say, lab, who, subject, "hello")
        with suppress(TimeoutError):
            return bool(await subscription.next_msg(0.2))
        return False

    with suppress(OSError, Error):
        return bool(with_client(lab["broker"].url, listen))
    return False


def with_client(url: str, work: Callable[[Client], Awaitable[Any]], **options: Any) -> Any:
    """Connect as whom the address says, do the work and return its result."""

    async def whole() -> Any:
        client = Client()
        try:
            await client.connect(url, allow_reconnect=False, connect_timeout=2, **options)
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(whole())


async def add_stream(client: Client) -> Any:
    """Let the broker keep what is said of rides."""
    return await client.jetstream().add_stream(name="RIDES", subjects=["ride.>"])


async def nothing(client: Client) -> None:
    """Be connected."""


def test_each_service_may_do_what_the_file_says(make_town: Maker) -> None:
    """A service has a name and a password; what it may not say is not heard, and its log says so."""
    lab = make_broker(make_town)
    lab.start()
    say(lab, "rides", "ride.ended", "hello")
    say(lab, "rides", "wallet.charge", "mine")
    say(lab, "map", "wallet.charge", "mine")
    assert until(lambda: heard(lab) == ["hello"] == heard(lab, "rides"))
    assert until(lambda: all(refused(lab, name) for name in ("rides", "map")))


def test_a_stranger_hears_nothing(make_town: Maker) -> None:
    """Without a password, with a wrong one or one of another run, nobody gets in; the lab's own user may do all."""
    lab = make_broker(make_town)
    lab.start()
    mine = lab["broker"].url
    assert re.fullmatch(r"nats://lab:p[0-9a-f]{24}@127\.0\.0\.1:\d+", mine)
    host = mine.rpartition("@")[2]
    for url in (f"nats://{host}", f"nats://lab:p00@{host}", f"nats://rides:@{host}", f"nats://root:root@{host}"):
        with pytest.raises(Error, match=r"(?i)authorization violation"):
            with_client(url, nothing)
    assert with_client(mine, add_stream).state.messages == 0
    lab.stop()
    lab.start()
    assert lab["broker"].url.split("@")[0] != mine.split("@")[0]


def test_a_service_with_a_wrong_password_says_so(make_town: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is refused hears it at once, and does not knock for ever; who finds no broker waits for it."""
    lab = make_broker(make_town)
    lab.start()
    url = lab["broker"].url

    async def connect(seconds: float) -> None:
        async with asyncio.timeout(seconds), connected():
            pass

    monkeypatch.setenv("NATS_URL", url.replace("lab:", "lab:x"))
    with pytest.raises(Error, match=r"(?i)authorization violation"):
        asyncio.run(connect(SECONDS))
    monkeypatch.setenv("NATS_URL", url)
    lab.kill("broker")
    with pytest.raises(TimeoutError):
        asyncio.run(connect(0.3))
    with ThreadPoolExecutor(1) as waiting:
        there = waiting.submit(asyncio.run, connect(SECONDS))
        lab.launch("broker")
        there.result(SECONDS)


def test_subscriptions_outlive_the_broker(make_town: Maker) -> None:
    """The broker is killed and comes back at the same address: each subscription is there once."""
    lab = make_broker(make_town)
    lab.start()
    before = lab["broker"].url
    lab.kill("broker")
    lab.launch("broker")
    assert lab["broker"].url == before
    words = map(str, range(1000))
    assert until(lambda: say(lab, "rides", "ride.ended", next(words)) or heard(lab)), "until map is there again"
    say(lab, "rides", "ride.ended", "last")
    assert until(lambda: "last" in heard(lab))
    assert len(heard(lab)) == len(set(heard(lab)))


def test_saved_permissions_hold_at_once(make_town: Maker) -> None:
    """A saved broker.conf is what the broker obeys; one with a slip is named, and mending it brings the broker back."""
    lab = make_broker(make_town)
    lab.start()
    write(lab.folder / "broker.conf", USERS.replace('{ deny: "wallet.>" }', '">"'))
    assert until(lambda: publishes(lab, "map", "wallet.charge"))
    write(lab.folder / "broker.conf", USERS.replace("users = [", "users = {"))
    assert until(lambda: "lab.conf" in str(lab.status()) or "crashed" in str(lab.status()))
    write(lab.folder / "broker.conf", USERS)
    assert until(lambda: lab["broker"].state == "ready")
    assert until(lambda: say(lab, "rides", "ride.ended", "mended") or heard(lab)), "until map is there again"


def test_settled_is_a_barrier(make_town: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """After settled() a message that another connection publishes is not missed, three hundred times."""
    lab = make_broker(make_town)
    lab.start()
    monkeypatch.setenv("NATS_URL", lab["broker"].url)

    async def rounds() -> int:
        found = 0
        async with connected() as listener, connected() as speaker:
            for number in range(300):
                subscription = await listener.subscribe(f"ride.{number}")
                await settled(listener)
                await speaker.publish(f"ride.{number}", b"x")
                await settled(speaker)
                with suppress(TimeoutError):
                    found += bool(await subscription.next_msg(SECONDS))
                await subscription.unsubscribe()
        return found

    assert asyncio.run(rounds()) == 300


def test_who_leaves_without_a_broker_leaves(make_town: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that hangs, or has gone, does not keep a service from leaving within its time."""
    lab = make_broker(make_town)
    lab.start()
    monkeypatch.setenv("NATS_URL", lab["broker"].url)

    async def leave(trouble: Callable[[str], None], left_to_say: bytes = b"") -> bool:
        async with connected() as client:
            await client.subscribe("ride.>")
            await settled(client)
            await asyncio.to_thread(trouble, "broker")
            if left_to_say:
                await client.publish("ride.ended", left_to_say)
        return client.is_closed

    assert asyncio.run(leave(lab.pause))
    lab.resume("broker")
    assert asyncio.run(leave(lab.kill))
    lab.launch("broker")
    assert asyncio.run(leave(lab.kill, b"x"))


def test_who_leaves_drops_nothing(make_town: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty times a member of a group leaves while messages come: each is heard, by it or by the one that stays."""
    lab = make_broker(make_town)
    lab.start()
    monkeypatch.setenv("NATS_URL", lab["broker"].url)
    said: list[int] = []
    heard_by_any: list[int] = []

    async def hear(message: Any) -> None:
        heard_by_any.append(int(message.data))

    async def talk(speaker: Client) -> None:
        while True:
            said.append(len(said))
            await speaker.publish("ride.ended", b"%d" % said[-1])
            await asyncio.sleep(0)

    async def join(client: Client) -> None:
        await client.subscribe("ride.ended", queue="workers", cb=hear)
        await settled(client)

    async def rounds() -> None:
        async with connected() as speaker, connected() as stays:
            await join(stays)
            talking = asyncio.create_task(talk(speaker))
            for _ in range(30):
                async with connected() as leaves:
                    await join(leaves)
            talking.cancel()
            await settled(speaker)

    asyncio.run(rounds())
    assert sorted(heard_by_any) == said
