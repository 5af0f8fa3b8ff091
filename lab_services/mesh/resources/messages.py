"""What the messages of Envoy have in common: they are dictionaries in Envoy's own field names (protobuf's JSON)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

TYPES = "type.googleapis.com/"
NAMES = {"endpoints": "cluster_name"}  # the field that names a resource, where it is not "name"
PLANE_CLUSTER = "xds"  # the static cluster of each Envoy that leads to its control plane


@dataclass(frozen=True)
class Resources:
    """All that one Envoy is told, each a list of Envoy's messages.

    Raises TypeError when one of them is no dictionary with a name: Envoy could not be told which one it is.
    """

    listeners: Sequence[Message] = ()
    clusters: Sequence[Message] = ()
    routes: Sequence[Message] = ()
    endpoints: Sequence[Message] = ()
    secrets: Sequence[Message] = ()

    def __post_init__(self) -> None:
        for kind, found in vars(self).items():
            for one in found:
                name = one.get(NAMES.get(kind, "name")) if isinstance(one, dict) else None
                if not isinstance(name, str):
                    raise TypeError(f"one of the {kind} is no dictionary with a {NAMES.get(kind, 'name')}: {one!r}")


def typed(kind: str, **fields: Any) -> Message:
    """Return google.protobuf.Any: `kind` is the full name of the message that `fields` fill."""
    return {"@type": TYPES + kind, **fields}


def extension(name: str, kind: str, **fields: Any) -> Message:
    """Return a named part of Envoy (a filter, a transport socket, an access log) with its configuration."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def from_plane() -> Message:
    """Return envoy.config.core.v3.ConfigSource: ask the control plane over HTTP, and ask again at once (REST xDS)."""
    source = {
        "api_type": "REST",
        "transport_api_version": "V3",
        "cluster_names": [PLANE_CLUSTER],
        "refresh_delay": "0.1s",  # after an answer; news that come meanwhile are told together
        "request_timeout": "30s",  # the plane holds a question until there is news
    }
    return {"resource_api_version": "V3", "api_config_source": source}


def over_ads(message: Any) -> Any:
    """Return the message with every from_plane() in it replaced: what it names then comes on its own stream."""
    if isinstance(message, list | tuple):
        return [over_ads(one) for one in message]
    if not isinstance(message, dict):
        return message
    source = message.get("api_config_source")
    if isinstance(source, dict) and source.get("cluster_names") == [PLANE_CLUSTER]:
        message = {name: value for name, value in message.items() if name != "api_config_source"} | {"ads": {}}
    return {name: over_ads(value) for name, value in message.items()}


def percent(share: float) -> Message:
    """Return envoy.type.v3.FractionalPercent: `share` of a hundred, to a ten-thousandth (12.5 is every eighth)."""
    return {"numerator": round(share * 10_000), "denominator": "MILLION"}


def exact(text: str) -> Message:
    """Return envoy.type.matcher.v3.StringMatcher: this text and no other."""
    return {"exact": text}


def loopback(port: int) -> Message:
    """Return envoy.config.core.v3.Address: a port of this machine, for this machine alone."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
