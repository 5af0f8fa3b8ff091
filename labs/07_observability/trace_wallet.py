"""Wallet: holds money for a ride, and charges it. It trusts everybody and has no limit. Calls nobody."""

from trace_app import name_ride, traced_app

app = traced_app("wallet")
charged: list[str] = []


@app.put("/holds/{ride_id}", status_code=201)
async def hold(ride_id: str) -> dict[str, str]:
    name_ride(ride_id)
    return {"ride_id": ride_id}


@app.put("/charges/{ride_id}", status_code=201)
async def charge(ride_id: str) -> dict[str, str]:
    name_ride(ride_id)
    charged.append(ride_id)
    return {"ride_id": ride_id}


@app.get("/charges")
async def show_charges() -> list[str]:
    return charged
