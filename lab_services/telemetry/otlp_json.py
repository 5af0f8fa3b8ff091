"""OTLP in JSON: protobuf's own JSON mapping, except that trace and span ids are hexadecimal and not base64.

Source: OpenTelemetry Protocol specification 1.10, section JSON Protobuf Encoding. Fields that nobody knows are left
out, enums may be numbers, whole numbers of 64 bits may be strings.
"""

from __future__ import annotations

import binascii
import json
from typing import Any

from google.protobuf import json_format

_IDS = ("traceId", "spanId", "parentSpanId")


class NotOtlp(ValueError):
    """JSON that is not the message it should be, or no JSON at all."""


def message_from_json(body: bytes, message: Any) -> Any:
    """Fill an empty message and return it; an id that is not hexadecimal becomes one of no bytes.

    Raises:
        NotOtlp: the body is not JSON, or its fields are not those of the message.
    """
    try:
        fields = json.loads(body, object_hook=_with_base64_ids)
        if not isinstance(fields, dict):
            raise NotOtlp("it is not an object")
        return json_format.ParseDict(fields, message, ignore_unknown_fields=True)
    except (json_format.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NotOtlp(str(error)[:300]) from error


def message_to_json(message: Any) -> bytes:
    """Return the JSON of a message that holds no ids: an answer, or a Status."""
    return bytes(json_format.MessageToJson(message, indent=None).encode())


def _with_base64_ids(fields: dict[str, Any]) -> dict[str, Any]:
    for name in _IDS:
        if isinstance(value := fields.get(name), str):
            fields[name] = _base64_of_hex(value)
    return fields


def _base64_of_hex(text: str) -> str:
    """Return base64; nothing for what is no hexadecimal, so that one bad span does not spoil the batch."""
    try:
        return binascii.b2a_base64(binascii.unhexlify(text), newline=False).decode()
    except ValueError:
        return ""
