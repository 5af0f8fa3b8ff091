"""The wallet: holds, captures and releases, and that no repetition and no crowd can change what they mean."""

from __future__ import annotations

from tests.bikeshare.town import Town, check_problem, together


def open_wallet(town: Town, rider_id: str, cents: int = 5000) -> None:
    assert town.client.put(f"/wallets/{rider_id}", json={"deposited_cents": cents}).status_code == 201


def hold(town: Town, ride_id: str, rider_id: str, cents: int = 2000) -> int:
    return town.client.put(f"/holds/{ride_id}", json={"rider_id": rider_id, "cents": cents}).status_code


def money_of(town: Town, rider_id: str) -> tuple[int, int]:
    wallet = town.client.get(f"/wallets/{rider_id}").json()
    return wallet["balance_cents"], wallet["held_cents"]


def test_the_riders_of_the_settings_have_their_wallets(town: Town) -> None:
    """The five riders of the default settings are there from the start."""
    wallets = town.client.get("/wallets", params={"ids": "ada,bo,chen,dora,poor,nobody"}).json()["wallets"]
    assert [each["deposited_cents"] for each in wallets] == [5000, 5000, 5000, 5000, 100]


def test_a_wallet_that_exists_is_not_changed(town: Town) -> None:
    """A second PUT of a wallet answers 200 and leaves its money alone."""
    open_wallet(town, "eve", 3000)
    again = town.client.put("/wallets/eve", json={"deposited_cents": 9999})
    assert (again.status_code, again.json()["deposited_cents"]) == (200, 3000)


def test_a_capture_takes_its_price_and_pays_back_the_rest(town: Town) -> None:
    """Of a hold of 2000, a capture of 340 costs 340."""
    open_wallet(town, "fay")
    assert hold(town, "w-1", "fay") == 201
    assert money_of(town, "fay") == (3000, 2000)
    held = town.client.put("/holds/w-1/captured", json={"cents": 340}).json()
    assert held == {"ride_id": "w-1", "rider_id": "fay", "cents": 2000, "state": "captured", "captured_cents": 340}
    assert money_of(town, "fay") == (4660, 0)
    assert town.client.get("/holds/w-1").json() == held
    assert town.client.get("/holds", params={"rider_id": "fay"}).json() == {"holds": [held]}


def test_every_step_may_be_repeated(town: Town) -> None:
    """Hold, capture and release answer 200 when they come again, and move no more money."""
    open_wallet(town, "gus")
    assert [hold(town, "w-2", "gus"), hold(town, "w-2", "gus"), hold(town, "w-3", "gus")] == [201, 200, 201]
    for _ in range(2):
        assert town.client.put("/holds/w-2/captured", json={"cents": 0}).status_code == 200
        assert town.client.put("/holds/w-3/released").status_code == 200
    assert money_of(town, "gus") == (5000, 0)


def test_a_settled_hold_stays_as_it_is(town: Town) -> None:
    """A captured hold cannot be released or captured anew, a released one cannot be captured."""
    open_wallet(town, "hal")
    hold(town, "w-4", "hal")
    hold(town, "w-5", "hal")
    town.client.put("/holds/w-4/captured", json={"cents": 100})
    town.client.put("/holds/w-5/released")
    check_problem(town.client.put("/holds/w-4/captured", json={"cents": 101}), 409, "w-4")
    check_problem(town.client.put("/holds/w-4/released"), 409, "captured")
    check_problem(town.client.put("/holds/w-5/captured", json={"cents": 100}), 409, "released")
    assert money_of(town, "hal") == (4900, 0)


def test_refusals_name_their_reason(town: Town) -> None:
    """Too little money is 402, a stranger 404, another amount 409, more than the hold 422."""
    open_wallet(town, "ivy", 2500)
    hold(town, "w-6", "ivy")
    check_problem(town.client.put("/holds/w-7", json={"rider_id": "ivy", "cents": 501}), 402, "500", "501")
    check_problem(town.client.put("/holds/w-7", json={"rider_id": "zoe", "cents": 1}), 404, "zoe")
    check_problem(town.client.put("/holds/w-6", json={"rider_id": "ivy", "cents": 1}), 409, "w-6")
    check_problem(town.client.put("/holds/w-6", json={"rider_id": "bo", "cents": 2000}), 409, "w-6")
    check_problem(town.client.put("/holds/w-6/captured", json={"cents": 2001}), 422, "cents", "2000")
    check_problem(town.client.get("/holds/w-none"), 404, "w-none")
    check_problem(town.client.put("/holds/w-none/released"), 404, "w-none")
    check_problem(town.client.get("/wallets/zoe"), 404, "zoe")


def test_twenty_times_the_same_hold_is_one_hold(town: Town, lawful: None) -> None:
    """Twenty threads put the same hold at once: one is created, and it is held once."""
    open_wallet(town, "jan")
    statuses = together(20, lambda _: hold(town, "w-8", "jan"))
    assert sorted(statuses) == [200] * 19 + [201]
    assert money_of(town, "jan") == (3000, 2000)


def test_a_crowd_cannot_overdraw_a_wallet(town: Town, lawful: None) -> None:
    """Of twenty different holds at once, a wallet of 5000 carries exactly two of 2000."""
    open_wallet(town, "kim")
    statuses = together(20, lambda number: hold(town, f"w-crowd-{number}", "kim"))
    assert sorted(statuses) == [201] * 2 + [402] * 18
    assert money_of(town, "kim") == (1000, 4000)


def test_capture_against_release_has_one_winner(town: Town, lawful: None) -> None:
    """Ten captures and ten releases of one hold at once: all winners are of one kind."""
    open_wallet(town, "lea")
    hold(town, "w-9", "lea")

    def settle(number: int) -> tuple[str, int]:
        if number % 2:
            return "captured", town.client.put("/holds/w-9/captured", json={"cents": 500}).status_code
        return "released", town.client.put("/holds/w-9/released").status_code

    results = together(20, settle)
    assert len({kind for kind, status in results if status == 200}) == 1
    assert {status for _, status in results} == {200, 409}


def test_a_batch_has_at_most_two_hundred_wallets(town: Town) -> None:
    """Two hundred ids are answered in one call, one more is refused by the name of the field."""
    ids = [f"rider-{number}" for number in range(201)]
    assert town.client.get("/wallets", params={"ids": ",".join(ids[:200])}).json() == {"wallets": []}
    check_problem(town.client.get("/wallets", params={"ids": ",".join(ids)}), 422, "ids", "200")
