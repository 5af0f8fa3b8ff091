"""Entry of the supervisor: `python -m lab_services.runtime SETTINGS`.

The launcher needs 0.4 s for its imports, so it is started before this process has imported anything of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

LOOPBACK_DIRECT = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def main() -> None:
    """Start the launcher, then supervise until the lease ends."""
    settings = json.loads(sys.argv[1])
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **LOOPBACK_DIRECT}
    channel, theirs = socket.socketpair()
    command = [sys.executable, "-m", "lab_services.runtime.launcher", json.dumps(settings["modules"])]
    launcher = subprocess.Popen(command, stdin=theirs.fileno(), env=env)
    theirs.close()

    from lab_services.runtime.supervisor import supervise

    supervise(settings, parent, env, channel, launcher)


if __name__ == "__main__":
    main()
