"""How one service of the city calls another: by the address in its environment, and never without a time limit."""

import os
from typing import Any

import httpx

from lab_services.bikeshare.problems import Problem

TIMEOUT_SECONDS = 2.0
NOWHERE = "http://127.0.0.1:1"
client = httpx.Client(timeout=TIMEOUT_SECONDS, limits=httpx.Limits(keepalive_expiry=2.0))


def call(service: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the answer; a refusal (4xx) comes back as the same Problem, silence or a broken service as a 503."""
    address = os.environ.get(f"{service.upper()}_URL", NOWHERE)
    try:
        answer = client.request(method, address + path, json=body)
        content = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise Problem(503, f"{service} down", f"{service} cannot be reached: {type(error).__name__}") from error
    if answer.status_code >= 500:
        raise Problem(503, f"{service} down", f"{service} answered {answer.status_code}")
    if answer.is_error:
        raise Problem(answer.status_code, f"refused by {service}", str(content.get("detail", content)))
    return dict(content)
