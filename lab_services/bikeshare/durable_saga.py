"""The saga "start a ride" on an engine for durable execution: it is a function, written as if nothing could crash.

hold, reserve, unlock (the pivot), start; what fails before the bolt opens is undone in reverse. The engine keeps each
step that has ended in a history, and a worker that takes over runs the function again from its first line, with the
ended steps answered from there. So nothing here may look at a clock, at random numbers or at the network: only `step`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

REFUSED = "Refused"  # the type of error that is an answer, not a failure
ANSWER = timedelta(seconds=2)  # who has not answered by then is silent; so is a worker that was killed
PAUSE, LONGEST_PAUSE = timedelta(seconds=0.2), timedelta(seconds=2)
A_FEW_TIMES = RetryPolicy(PAUSE, 2, LONGEST_PAUSE, maximum_attempts=3, non_retryable_error_types=[REFUSED])
UNTIL_ANSWERED = RetryPolicy(PAUSE, 2, LONGEST_PAUSE, non_retryable_error_types=[REFUSED])
UNTIL_DONE = RetryPolicy(PAUSE, 2, LONGEST_PAUSE)
UNDO = {"wallet.hold": "wallet.release", "stations.reserve": "stations.cancel"}


@dataclass(frozen=True)
class Wish:
    """What a rider wants to start."""

    ride_id: str
    rider_id: str
    bike_id: str
    cents: int


@workflow.defn
class StartRide:
    """One start; its id is the ride's, its result how it ended and why."""

    @workflow.run
    async def run(self, wish: Wish) -> dict[str, Any]:
        """Lead a start to its end: started, or refused and undone."""
        undo: list[str] = []
        try:
            for action in ("wallet.hold", "stations.reserve"):
                undo.append(UNDO[action])  # before the step: one that is silent may have been done
                await step(action, wish, A_FEW_TIMES)
            await step("locks.unlock", wish, UNTIL_ANSWERED)  # a bolt that may be open must be taken for open
        except ActivityError as error:
            if is_refusal(error) and error.activity_type in UNDO:
                undo.pop()  # this one has certainly done nothing
            for action in reversed(undo):
                await step(action, wish, UNTIL_DONE)
            return {"state": "refused", "reason": getattr(error.cause, "message", None)}
        await step("rides.start", wish, UNTIL_DONE)
        return {"state": "started", "reason": None}


async def step(action: str, wish: Wish, policy: RetryPolicy) -> None:
    """Have a worker carry out an action, again and again as the policy says."""
    await workflow.execute_activity(action, asdict(wish), start_to_close_timeout=ANSWER, retry_policy=policy)


def is_refusal(error: ActivityError) -> bool:
    """Tell a participant's no from its silence."""
    return isinstance(error.cause, ApplicationError) and error.cause.type == REFUSED
