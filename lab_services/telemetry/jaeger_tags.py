"""Attributes as Jaeger's tags: a key, a type and a value. Kept as JSON text, for that is what they are asked for in.

The text is put together by hand because this is where a store of spans spends its time: json.dumps of the same lists
takes twice as long.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
OK, ERROR = 1, 2


def tags_of(attributes: Iterable[Any]) -> list[str]:
    """Return the tags, each as JSON text, of OTLP's attributes (KeyValue messages)."""
    return [
        string_tag(each.key, text) if (text := (value := each.value).string_value) else tag_of(each.key, value)
        for each in attributes
    ]


def tag_of(key: str, value: Any) -> str:
    """Return the tag, as JSON text, of one OTLP value (AnyValue).

    Jaeger's types are string, bool, int64, float64 and binary. A list or a map becomes the string of its JSON; a number
    that JSON does not have (NaN, infinity) becomes a string.
    """
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return f'{_begin(key)}"int64","value":{value.int_value}}}'
    if kind == "bool_value":
        return f'{_begin(key)}"bool","value":{"true" if value.bool_value else "false"}}}'
    if kind == "double_value" and math.isfinite(value.double_value):
        return f'{_begin(key)}"float64","value":{value.double_value!r}}}'
    if kind == "bytes_value":
        return f'{_begin(key)}"binary","value":"{base64.b64encode(value.bytes_value).decode()}"}}'
    plain = plain_value(value)
    return string_tag(key, plain if isinstance(plain, str) else json.dumps(plain))


def string_tag(key: str, text: str) -> str:
    """Return a tag of the type string."""
    return f'{_begin(key)}"string","value":{quoted(text)}}}'


def true_tag(key: str) -> str:
    """Return a tag that is true."""
    return f'{_begin(key)}"bool","value":true}}'


def plain_value(value: Any) -> Any:
    """Return an OTLP value (AnyValue) as what json.dumps takes; None for one that says nothing."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: plain_value(each.value) for each in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    found = getattr(value, kind) if kind else None
    return str(found) if isinstance(found, float) and not math.isfinite(found) else found


def listed(items: Iterable[str]) -> str:
    """Return the JSON list of what is JSON text already."""
    return f"[{','.join(items)}]"


@lru_cache(maxsize=4096)  # the same few keys come with every span
def _begin(key: str) -> str:
    return f'{{"key":{quoted(key)},"type":'
