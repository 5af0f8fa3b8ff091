"""Looks at every request of rides: when one has ended, `count(method, route, status, seconds)` is called, once.

`measured` stands between the web server and the app (ASGI). What the app answers passes through `send`: one message
`http.response.start` with the `status`, then messages `http.response.body`, the last one without `more_body`.

| argument | what it says                                                                                              |
| -------- | --------------------------------------------------------------------------------------------------------- |
| method   | `GET` or `POST`, the methods that rides has; `other` for every other one                                  |
| route    | as it is written in red_rides.py, `/rides/{ride_id}`; `unknown` when no route has the path of the request |
| status   | what came of the request for the rider, as text: the next table                                           |
| seconds  | from the call of `measured` until the app has ended: with the wait for a dock, and with the whole body    |

| what has come of it                                                   | status                                       |
| --------------------------------------------------------------------- | -------------------------------------------- |
| the rider was there when the last piece of her answer was sent        | as it was sent: 201, 404, 503, ...           |
| the rider had gone by then: she has given up                          | 499, also when the app would have said 201   |
| the app raised an exception, before its answer or in the middle of it | 500, also when 200 was already sent          |

An exception is counted and goes on its way. A request for /metrics, /health/live or /health/ready is not counted: it
comes from the city itself. Every other one is, whatever its path looks like: `/health`, `/rides/metrics`, `/wp-login`.

`scope["route"].path` is the route, from when the app has found one: it is not there before, nor when there is none. Of
a request that is answered with 405 it is there or not, and both are right. `await Request(scope,
receive).is_disconnected()` tells whether the rider has gone. Ask it when the app has read the request, and before the
last piece is sent: behind that the answer is always yes.
"""

import time

from red_metrics import count
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send


# --- your turn 7.1 ---
async def measured(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the app answer a request, and count it."""
    began, said, status = time.perf_counter(), "", "499"  # 499 until the last piece is sent to somebody
    request = Request(scope, receive)

    async def watched(message: Message) -> None:
        nonlocal said, status
        if message["type"] == "http.response.start":
            said = str(message["status"])  # said, but not yet kept: a stream may break, a rider may go
        elif not message.get("more_body") and not await request.is_disconnected():
            status = said
        await send(message)

    try:
        await app(scope, receive, watched)
    except Exception:
        status = "500"
        raise
    finally:  # the only place that no request passes by
        if scope["path"] not in ("/metrics", "/health/live", "/health/ready"):
            method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
            route = getattr(scope.get("route"), "path", "unknown")  # few values: no path that a stranger made up
            count(method, route, status, time.perf_counter() - began)


# --- end 7.1 ---


class Measured:
    """The middleware of red_rides.py."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await measured(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)
