"""Teller: a thread that reads the riders' balances when the wallet starts, and then tells riders of their payments.

A round: it takes the bench, notes that it begins (life.round_at), tells notices of one payment of which the rider has
not been told, and waits for a moment if there is none. A call of notices takes TELL_SECONDS at most; what fails is
tried again later.
"""

import logging
import os
import threading
import time

import httpx
from health_life import life, now

from lab_services.bikeshare.database import transaction

BANK_URL = os.environ.get("BANK_URL", "http://127.0.0.1:8001")
BANK_KEY = os.environ.get("BANK_KEY", "")
NOTICES_URL = os.environ.get("NOTICES_URL", "http://127.0.0.1:8002")
BANK_SECONDS = 8.0  # an old bank: it takes its time
TELL_SECONDS = 0.1
PAUSE_SECONDS = 0.02
UNTOLD = "SELECT * FROM payments WHERE told = 0 ORDER BY rowid LIMIT 1"
balances: dict[str, int] = {}
bench = threading.Lock()  # whoever works on a payment
bank = httpx.Client(base_url=BANK_URL, params={"key": BANK_KEY}, timeout=BANK_SECONDS, trust_env=False)
notices = httpx.Client(base_url=NOTICES_URL, timeout=TELL_SECONDS, trust_env=False)
log = logging.getLogger("teller")


def work() -> None:
    """Start up, then make one round after the other, for as long as the process lives."""
    while not life.started:
        try:
            balances.update(bank.get("/balances").raise_for_status().json())
            life.started = True
        except (httpx.HTTPError, ValueError, TypeError):
            time.sleep(PAUSE_SECONDS)
    while True:
        try:
            with bench:
                life.round_at = now()
                told = tell_one()
        except Exception as error:
            log.warning("goes on after %s", type(error).__name__)
            told = False
        if not told:
            time.sleep(PAUSE_SECONDS)


def tell_one() -> bool:
    """Tell one rider of one payment; return False if all have been told."""
    with transaction("wallet", "BEGIN") as db:
        row = db.execute(UNTOLD).fetchone()
    if row is None:
        return False
    notice = {"rider_id": row["rider_id"], "ride_id": row["payment_id"], "text": f"{row['cents']} cents were paid"}
    notices.put(f"/notices/{row['payment_id']}", json=notice).raise_for_status()
    with transaction("wallet") as db:
        db.execute("UPDATE payments SET told = 1 WHERE payment_id = ?", [row["payment_id"]])
    return True
