"""A tap at a dock, in three layers: `answer` calls `start`, which calls `hold`, which asks the wallet.

`answer` returns the status and a word for the rider's program. What has happened is in the log once, in one line whose
event is one of these words and no more, with the fields `tap.ids()` as `extra`:

| what happened                          | answer                    | event, level, and fields besides the ids        |
| -------------------------------------- | ------------------------- | ----------------------------------------------- |
| the ride has started                   | 201, started              | ride_started, info                              |
| Refused: the rider's fault, not ours   | its status and its reason | tap_refused, info or warning; reason, status    |
| the wallet failed, all TRIES times     | 503, failed               | tap_failed, error; the exception (`exc_info`)   |
| a bug: any other exception             | 500, failed               | tap_failed, error; the exception                |
| the wallet failed, and then it did not | 201, started              | ride_started; before it, for each failed try,   |
|                                        |                           | hold_retried, warning                           |

An error of ours wakes somebody at night: it has one line of level error, whatever number of layers it goes through.
A refusal, and a failure that a second try has mended, have none.
"""

import logging

import httpx
from log_calls import Refused, Tap, ask_wallet, tell

TRIES = 2
log = logging.getLogger("rides")


async def start(tap: Tap) -> None:
    await hold(tap)
    await tell(tap)


# --- your turn 7.3 ---
async def hold(tap: Tap) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            return await ask_wallet(tap)
        except httpx.HTTPError as error:
            if attempt == TRIES:
                raise  # without a line: whoever answers knows how it ended, and says so
            log.warning("hold_retried", extra={**tap.ids(), "reason": type(error).__name__})


async def answer(tap: Tap) -> tuple[int, str]:
    try:
        await start(tap)
    except Refused as no:
        log.info("tap_refused", extra={**tap.ids(), "reason": no.reason, "status": no.status})
        return no.status, no.reason
    except Exception as error:  # the one place that logs it; the layers below let it through
        log.exception("tap_failed", extra=tap.ids())
        return 503 if isinstance(error, httpx.HTTPError) else 500, "failed"
    log.info("ride_started", extra=tap.ids())
    return 201, "started"


# --- end 7.3 ---
