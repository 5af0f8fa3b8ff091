"""The stream TRACKS: where the broker keeps what is published on track.* (one subject a night).

It is a promise to whoever has handed in a night:

* What it has acknowledged outlives the broker's process, killed or not: it is written to files. (Written, not yet on
  the disk: the operating system holds it for up to two minutes. A power cut can take it, unless the broker is told
  `sync_interval: always`, which makes each publication slower.)
* It takes MOST_EVENTS. When it is full it refuses what comes, and discards nothing of what it has.
* It takes no message of more than MOST_BYTES from anybody: nobody could read it.
* For WINDOW_SECONDS after an event it knows the event's id (`Nats-Msg-Id`), and keeps no second one: so long may a
  depot go on sending the same night.
"""

import os

from nats.js import api

MOST_EVENTS = int(os.environ.get("MOST_EVENTS", "1000000"))
MOST_BYTES = 64 * 1024
WINDOW_SECONDS = 24 * 60 * 60

# --- your turn 4.5 ---
STREAM = api.StreamConfig(
    name="TRACKS",
    subjects=["track.*"],
    storage=api.StorageType.FILE,
    max_msgs=MOST_EVENTS,
    discard=api.DiscardPolicy.NEW,  # the default, OLD, makes room for tonight by losing last night
    max_msg_size=MOST_BYTES,
    duplicate_window=WINDOW_SECONDS,  # the default is two minutes: a depot whose line is down comes later
)
# --- end 4.5 ---
