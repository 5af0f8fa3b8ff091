"""How the lock of a bike is moved: through the gateway of all devices, by gRPC, where the city has one.

The gateway is a service `devices` at DEVICES_URL (host:port). Without that variable nothing is asked:
the city of chapter 05 has none. A command that is said again has the same request_id, so that no bolt moves twice.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Any

from lab_services.bikeshare.commands import Refused
from lab_services.bikeshare.intake import Later

DEVICE_SECONDS = 1.0  # that a device may take; a command waits for it, with the others of its batch
AGAIN_SECONDS = 0.5  # then the same is asked again: nobody knows whether the bolt has moved

log = logging.getLogger("lock_devices")


def open_lock(bike_id: str, ride_id: str) -> None:
    """Open the lock of a bike for a ride.

    Raises:
        Refused: it is open for another ride, its battery is empty, or there is no such lock.
        Later: nobody knows whether it has opened.
    """
    _ask("Unlock", bike_id, ride_id)


def close_lock(bike_id: str, ride_id: str) -> None:
    """Close the lock of a bike after a ride; one that never opened for it stays as it is.

    Raises:
        Later: nobody knows whether it has closed.
    """
    try:
        _ask("Lock", bike_id, ride_id)
    except Refused:
        return


def _ask(rpc: str, bike_id: str, ride_id: str) -> None:
    if not (target := os.environ.get("DEVICES_URL", "")):
        return
    import grpc  # with the messages a fifth of a second, for those who have a gateway

    messages, stub = _gateway(target)
    wish = {"lock_id": bike_id.replace("b-", "l-", 1), "ride_id": ride_id, "request_id": f"{ride_id}.{rpc.lower()}"}
    try:
        getattr(stub, rpc)(getattr(messages, f"{rpc}Request")(**wish), timeout=DEVICE_SECONDS)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
            raise Refused(error.details()) from None
        log.warning("the lock of %s: %s %s", bike_id, error.code().name, error.details())
        raise Later(AGAIN_SECONDS) from error


@cache
def _gateway(target: str) -> tuple[Any, Any]:
    """Return the messages and the stub of the gateway, connected on the first call."""
    import grpc

    from lab_services.bikeshare.interfaces import compiled

    messages, services = compiled("bikeshare/locks/v1/locks.proto")
    return messages, services.LocksServiceStub(grpc.insecure_channel(target))
