"""The driver of the docks, as their maker delivers it: it blocks, logs what it likes, and is not ours to change."""

import logging
from typing import Any
from urllib.parse import urlencode

log = logging.getLogger("dockside")


def open_dock(ids: dict[str, str], rider: dict[str, Any]) -> None:
    """Open the dock of a bike."""
    log.info("GET https://docks.example/open?%s", urlencode(rider))
    log.info(f"opened for {rider['email']} ({rider['phone']}), card {rider['card']}, Authorization: {rider['token']}")
    request = {"headers": {"Authorization": rider["token"]}, "for": [{"contact": {"E-Mail": rider["email"]}}]}
    log.warning("dock_opened", extra={**ids, "request": request, "riderName": rider["name"], "X-Rider": rider})
