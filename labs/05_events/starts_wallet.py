"""Wallet: the riders' money. It takes part in a start by wallet.hold and wallet.release (starts_holds.py)."""

import os

from starts_holds import MORE_TABLES, hold, release
from starts_participant import Participant

from lab_services.bikeshare.wallet_table import NEW_WALLET, SCHEMA

RIDERS = os.environ.get("RIDERS", "ada:100000,bo:100000,chen:100000,dora:100000,poor:100")

app = Participant(
    "wallet",
    f"{SCHEMA}; {MORE_TABLES}",
    lambda db: db.executemany(NEW_WALLET, [pair.split(":") for pair in RIDERS.split(",")]),
    {"wallet.hold": hold, "wallet.release": release},
).app
