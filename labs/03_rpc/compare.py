"""Parts: one order of five items, told in two ways: as JSON over HTTP by `app`, and over gRPC by `serve`.

Both make their answer anew for each call, from the same facts. Nobody is called, nothing is stored: what a call costs
here is what calling costs. compare_costs.py measures it.
"""

from typing import Any

import grpc
from fastapi import FastAPI
from pydantic import BaseModel

from lab_services.bikeshare.health import answer_health

messages, services = grpc.protos_and_services("compare.proto")

NAMES = ("tyre 28", "brake cable", "battery 36 V", "saddle", "left pedal")
ITEMS = [
    {"part_id": f"p-{number}", "name": name, "pieces": number, "price_cents": 1250 * number}
    for number, name in enumerate(NAMES, 1)
]
FACTS: dict[str, Any] = {
    "garage_id": "g-1",
    "items": ITEMS,
    "total_cents": sum(item["pieces"] * item["price_cents"] for item in ITEMS),
}


class Item(BaseModel):
    part_id: str
    name: str
    pieces: int
    price_cents: int


class Order(BaseModel):
    order_id: str
    garage_id: str
    items: list[Item]
    total_cents: int


app = FastAPI(title="parts")
answer_health(app)


@app.get("/orders/{order_id}")
async def get_order(order_id: str) -> Order:
    return Order(order_id=order_id, **FACTS)


class Parts(services.PartsServiceServicer):
    async def GetOrder(self, request: Any, context: Any) -> Any:
        return messages.GetOrderResponse(order=messages.Order(order_id=request.order_id, **FACTS))

    async def ListOrders(self, request: Any, context: Any) -> Any:
        for number in range(request.count):
            order = messages.Order(order_id=f"o-{number}", **FACTS)
            yield messages.ListOrdersResponse(order=order)


async def serve(server: Any) -> None:
    services.add_PartsServiceServicer_to_server(Parts(), server)
