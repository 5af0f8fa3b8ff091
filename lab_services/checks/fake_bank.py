"""A bank and a lock that a check can hold in its hand: the contracts of `wallet` and `stations`, in memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from lab_services.checks.fakes import Answer, Call, FakeService, problem

RIDERS = {"ada": 5000, "bo": 5000, "chen": 5000, "dora": 5000, "poor": 100}
DOCKS = tuple(f"{row}{column}" for row in "ABCD" for column in range(1, 5))


@dataclass(frozen=True)
class Hold:
    """Money set aside for one ride: `state` is open, captured or released."""

    ride_id: str
    rider_id: str
    cents: int
    state: str = "open"
    captured_cents: int = 0

    def as_answer(self) -> dict[str, Any]:
        """Return the hold as the wallet answers it."""
        return {**self.__dict__}


class FakeBank(FakeService):
    """Keep the wallet's contract in memory, with a ledger of calls, and fail, delay or drop answers on demand.

        city.start(replace={"wallet": fake_bank.url})
        fake_bank.drop_answers(times=1, path="/captured")
        fake_bank.captures("r-1")       # how often money was really taken

    `deposits` and `holds` may be read and, before the city starts, changed.
    """

    def __init__(self) -> None:
        self.deposits = dict(RIDERS)
        self.holds: dict[str, Hold] = {}
        self._captured: list[str] = []
        self._books = threading.Lock()
        super().__init__("wallet", self._route)

    def captures(self, ride_id: str) -> int:
        """Return how often money was taken for a ride."""
        with self._books:
            return self._captured.count(ride_id)

    def balance_cents(self, rider_id: str) -> int:
        """Return what a rider can still spend."""
        holds = [hold for hold in self.holds.values() if hold.rider_id == rider_id]
        return self.deposits[rider_id] - sum(_blocked_cents(hold) for hold in holds)

    def _route(self, call: Call) -> Answer:
        with self._books:
            match [call.method, *call.path.strip("/").split("/")]:
                case ["PUT", "wallets", rider_id]:
                    return self._put_wallet(rider_id, call)
                case ["GET", "wallets"]:
                    ids = [name for name in call.query.get("ids", "").split(",") if name in self.deposits]
                    return 200, {"wallets": [self._wallet(name) for name in ids]}
                case ["GET", "wallets", rider_id]:
                    return (200, self._wallet(rider_id)) if rider_id in self.deposits else _unknown(rider_id)
                case ["GET", "holds"]:
                    rider = call.query.get("rider_id")
                    found = [hold.as_answer() for hold in self.holds.values() if rider in (None, hold.rider_id)]
                    return 200, {"holds": found}
                case ["PUT", "holds", ride_id]:
                    return self._put_hold(ride_id, call)
                case [method, "holds", ride_id, *action]:
                    return self._change(method, ride_id, action, call)
            return 404, problem(404, f"no such address: {call}")

    def _wallet(self, rider_id: str) -> dict[str, Any]:
        holds = [hold for hold in self.holds.values() if hold.rider_id == rider_id and hold.state == "open"]
        return {
            "rider_id": rider_id,
            "deposited_cents": self.deposits[rider_id],
            "balance_cents": self.balance_cents(rider_id),
            "held_cents": sum(hold.cents for hold in holds),
        }

    def _put_wallet(self, rider_id: str, call: Call) -> Answer:
        status = 200 if rider_id in self.deposits else 201
        self.deposits.setdefault(rider_id, int(call.body["deposited_cents"]))
        return status, self._wallet(rider_id)

    def _put_hold(self, ride_id: str, call: Call) -> Answer:
        rider_id, cents = call.body["rider_id"], int(call.body["cents"])
        if (old := self.holds.get(ride_id)) is not None:
            same = (old.rider_id, old.cents) == (rider_id, cents)
            return (200, old.as_answer()) if same else (409, problem(409, "same ride, other rider or amount"))
        if rider_id not in self.deposits:
            return _unknown(rider_id)
        if self.balance_cents(rider_id) < cents:
            return 402, problem(402, f"{rider_id} has not enough money")
        self.holds[ride_id] = Hold(ride_id, rider_id, cents)
        return 201, self.holds[ride_id].as_answer()

    def _change(self, method: str, ride_id: str, action: list[str], call: Call) -> Answer:
        hold = self.holds.get(ride_id)
        if hold is None:
            return _unknown(ride_id)
        if method == "PUT" and action == ["captured"]:
            return self._capture(hold, int(call.body["cents"]))
        if method == "PUT" and action == ["released"]:
            return self._release(hold)
        if method == "GET" and not action:
            return 200, hold.as_answer()
        return 404, problem(404, f"no such address: {call}")

    def _capture(self, hold: Hold, cents: int) -> Answer:
        if hold.state == "released" or (hold.state == "captured" and hold.captured_cents != cents):
            return 409, problem(409, f"the hold is {hold.state}, {hold.captured_cents} cents taken")
        if cents > hold.cents:
            return 422, problem(422, "more than was held")
        if hold.state == "open":
            self._captured.append(hold.ride_id)
            self.holds[hold.ride_id] = replace(hold, state="captured", captured_cents=cents)
        return 200, self.holds[hold.ride_id].as_answer()

    def _release(self, hold: Hold) -> Answer:
        if hold.state == "captured":
            return 409, problem(409, "the money was taken already")
        self.holds[hold.ride_id] = replace(hold, state="released")
        return 200, self.holds[hold.ride_id].as_answer()


def _blocked_cents(hold: Hold) -> int:
    return {"open": hold.cents, "captured": hold.captured_cents}.get(hold.state, 0)


def _unknown(name: str) -> Answer:
    return 404, problem(404, f"unknown: {name}")


@dataclass(frozen=True)
class Opening:
    """One dock that really opened."""

    station_id: str
    ride_id: str


class FakeLock(FakeService):
    """Open docks as `stations` does and keep a ledger of the openings.

    `PUT /stations/{id}/taken/{ride_id}` opens once per ride, as the contract says;
    `POST /stations/{id}/open` opens each time it is called, as a lock without a memory does.
    """

    def __init__(self) -> None:
        self._openings: list[Opening] = []
        self._bikes: dict[str, str] = {}
        self._doors = threading.Lock()
        super().__init__("stations", self._route)

    @property
    def openings(self) -> tuple[Opening, ...]:
        """Every opening so far, in order."""
        with self._doors:
            return tuple(self._openings)

    def _route(self, call: Call) -> Answer:
        with self._doors:
            match [call.method, *call.path.strip("/").split("/")]:
                case ["PUT", "stations", station_id, "taken", ride_id] if station_id in DOCKS:
                    if ride_id not in self._bikes:
                        self._open(station_id, ride_id)
                    return 200, self._bike(station_id, ride_id)
                case ["PUT", "stations", station_id, "returned", ride_id] if station_id in DOCKS:
                    known = ride_id in self._bikes
                    return (200, self._bike(station_id, ride_id)) if known else (409, problem(409, "ride has no bike"))
                case ["POST", "stations", station_id, "open"] if station_id in DOCKS:
                    ride_id = str((call.body or {}).get("ride_id", ""))
                    self._open(station_id, ride_id)
                    return 200, self._bike(station_id, ride_id)
            return 404, problem(404, f"no such address: {call}")

    def _open(self, station_id: str, ride_id: str) -> None:
        self._openings.append(Opening(station_id, ride_id))
        self._bikes[ride_id] = f"b-{len(self._openings)}"

    def _bike(self, station_id: str, ride_id: str) -> dict[str, str]:
        return {"bike_id": self._bikes[ride_id], "ride_id": ride_id, "station_id": station_id}
