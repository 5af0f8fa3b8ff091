"""The service that obeys locks.unlock moves real devices, where the city has a gateway of them."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from lab_services.bikeshare import lock_devices
from lab_services.bikeshare.commands import Refused
from lab_services.bikeshare.intake import Later


class Gateway:
    """A gateway of devices whose answer a test chooses; it notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str, float]] = []
        self.fails: grpc.StatusCode | None = None

    def answer(self, rpc: str, wish: dict[str, str], timeout: float) -> None:
        """Note a call, and fail it if told to."""
        self.asked.append((rpc, wish["lock_id"], wish["ride_id"], wish["request_id"], timeout))
        if self.fails is not None:
            raise Failed(self.fails)

    def Unlock(self, wish: dict[str, str], timeout: float) -> None:
        self.answer("Unlock", wish, timeout)

    def Lock(self, wish: dict[str, str], timeout: float) -> None:
        self.answer("Lock", wish, timeout)


class Failed(grpc.RpcError):
    """What a stub raises."""

    def __init__(self, status: grpc.StatusCode) -> None:
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return "l-07 is open for another ride"


class Messages:
    """The messages of locks.proto, as far as this client needs them."""

    UnlockRequest = LockRequest = dict


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    found = Gateway()
    monkeypatch.setenv("DEVICES_URL", "127.0.0.1:1")
    monkeypatch.setattr(lock_devices, "_gateway", lambda target: (Messages, found))
    yield found


def test_a_bolt_is_asked_for_once_and_named(gateway: Gateway) -> None:
    """The lock of the bike is asked, with a request_id that the same command has again, and with a limit of time."""
    for _ in range(2):
        lock_devices.open_lock("b-07", "r-1")
    lock_devices.close_lock("b-07", "r-1")
    seconds = lock_devices.DEVICE_SECONDS
    unlock = ("Unlock", "l-07", "r-1", "r-1.unlock", seconds)
    assert gateway.asked == [unlock, unlock, ("Lock", "l-07", "r-1", "r-1.lock", seconds)]


@pytest.mark.parametrize("status", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION])
def test_a_no_is_a_refusal(gateway: Gateway, status: grpc.StatusCode) -> None:
    """What no second try makes better is refused to the rider, in the words of the gateway; a closing is passed by."""
    gateway.fails = status
    with pytest.raises(Refused, match="open for another ride"):
        lock_devices.open_lock("b-07", "r-1")
    lock_devices.close_lock("b-07", "r-1")


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_who_does_not_know_asks_again(
    gateway: Gateway, status: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    """Silence is no refusal: the bolt may have moved, and the command comes again."""
    gateway.fails = status
    for ask in (lock_devices.open_lock, lock_devices.close_lock):
        with pytest.raises(Later):
            ask("b-07", "r-1")
    assert caplog.text.count(f"the lock of b-07: {status.name}") == 2


def test_without_a_gateway_nothing_is_asked(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The city of chapter 05 has no devices."""
    monkeypatch.delenv("DEVICES_URL")
    lock_devices.open_lock("b-07", "r-1")
    lock_devices.close_lock("b-07", "r-1")
    assert gateway.asked == []
