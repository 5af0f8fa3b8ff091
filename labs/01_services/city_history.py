"""What the old city has seen before the course begins: four riders, two rides that are paid and one on its way."""

import sqlite3

import city_money as money
import city_tables as city

DEPOSITS = {"greta": 5003, "hugo": 2777, "ida": 3334, "jonas": 0}
PAID = {"r-old-1": ("greta", "B1", "C2", 33), "r-old-2": ("ida", "C3", "A4", 7)}
ON_ITS_WAY = {"r-old-3": ("greta", "D2")}


def write_history(db: sqlite3.Connection) -> None:
    """Fill the tables at the very first start; later starts find them filled."""
    if city.every(db, "SELECT 1 FROM rides LIMIT 1"):
        return
    city.build_stations(db)
    for rider_id, cents in DEPOSITS.items():
        money.open_wallet(db, rider_id, cents)
    for ride_id, (rider_id, start, end, minutes) in PAID.items():
        begin(db, ride_id, rider_id, start)
        city.return_bike(db, ride_id, end)
        money.settle(db, ride_id, "captured", city.price(minutes))
        city.note_end(db, ride_id, end, minutes, city.price(minutes))
    for ride_id, (rider_id, start) in ON_ITS_WAY.items():
        begin(db, ride_id, rider_id, start)


def begin(db: sqlite3.Connection, ride_id: str, rider_id: str, station_id: str) -> None:
    money.hold(db, ride_id, rider_id, city.HOLD_CENTS)
    city.note_start(db, ride_id, rider_id, city.take_bike(db, ride_id, station_id), station_id)
