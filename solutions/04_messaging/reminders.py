"""Reminders: messages that the broker keeps, and hands out when their time has come. Stream REMINDERS, on reminder.>.

A reminder is an event, and `event.time` is the time when it is due. At that time it is on the subject reminder.due,
where notices reads it, which is another program. Until then it waits at the broker, on a subject of ours: a message
with these two headers is a schedule, in a stream that allows schedules (nats-server from 2.12 on, ADR-51).

    Nats-Schedule: @at 2026-05-01T12:00:00Z     the time, with its offset (RFC 3339), as isoformat() writes it
    Nats-Schedule-Target: reminder.due          a subject of the same stream

At that time the broker writes the message anew, on the target, and the schedule is gone. If its time passes while the
broker is down, it comes when the broker is back. On one subject there is one schedule: a newer message replaces it,
and whoever purges the subject (`purge_stream`, with a `subject`) cancels it.

remind  The reminder of a booking comes once, not before its time, whether or not this replica is still there, and over
        every restart of the broker. Once `remind` has returned, the broker has it. A second one of the same booking
        replaces the first. One of any other booking, also of the same rider or bike, is left alone.
cancel  The reminder of this booking will not come, whichever replica has set it; all others will.
"""

import asyncio

from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import BadRequestError

from lab_services.bikeshare.messages import Event, written

KEEP_SECONDS = 7 * 24 * 3600  # longer than any booking
OPEN_SECONDS = 10

# --- your turn 4.6 ---
REMINDERS = StreamConfig(
    name="REMINDERS",
    subjects=["reminder.>"],
    storage=StorageType.FILE,
    max_age=KEEP_SECONDS,
    allow_msg_schedules=True,
)


def waits_on(bike_id: str, booking_id: str) -> str:
    # One subject for each booking: a message here replaces the one before, and no other.
    return f"reminder.later.{bike_id}.{booking_id}"


async def remind(broker: JetStreamContext, bike_id: str, booking_id: str, event: Event) -> None:
    """Let the broker hand out the reminder of a booking when it is due."""
    schedule = {"Nats-Schedule": f"@at {event.time.isoformat()}", "Nats-Schedule-Target": "reminder.due"}
    await broker.publish(waits_on(bike_id, booking_id), written(event), headers=schedule)


async def cancel(broker: JetStreamContext, bike_id: str, booking_id: str) -> None:
    """Take back the reminder of a booking."""
    await broker.purge_stream(REMINDERS.name, subject=waits_on(bike_id, booking_id))


# --- end 4.6 ---


async def opened(broker: JetStreamContext) -> None:
    """Have the stream at the broker, as it stands above; whoever starts first makes it, the others find it."""
    async with asyncio.timeout(OPEN_SECONDS):
        try:
            await broker.add_stream(REMINDERS)
        except BadRequestError:  # it is there, and was another one when it was made
            await _changed(broker)


async def _changed(broker: JetStreamContext) -> None:
    try:
        await broker.update_stream(REMINDERS)
    except BadRequestError as error:
        raise RuntimeError(f"REMINDERS: {error.description}; lab.stop() and lab.start() make it anew") from error
