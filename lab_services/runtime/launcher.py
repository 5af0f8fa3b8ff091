"""The one process that starts others: it has imported what services need, and forks.

Single-threaded, without an event loop and without sockets of its own, so that forking is safe. Python services
are forked (about 30 ms instead of 400 ms for a fresh interpreter); servers such as nats-server are forked and executed.

It is also the one that reaps: a signal is sent here, to a process that has not been waited for, so never to a
stranger that got the same pid. On Linux it is the subreaper: what a service leaves behind, even in a session of its
own, becomes our child and is stopped with the service. When the supervisor goes, its end of the channel closes,
and everything started here is stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from lab_services.runtime import wire
from lab_services.runtime.warm import warm_up

LINUX = sys.platform.startswith("linux")
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STOP_SECONDS = 0.3  # grace between SIGTERM and SIGKILL when the supervisor has gone
SPARE_FD = 100  # above every descriptor that a child is given
LIBC = ctypes.CDLL(None) if LINUX else None


class Launcher:
    """Obeys one supervisor over one channel; knows its children by pid."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._reader = wire.Reader(channel)
        self._children: set[int] = set()
        self._pid = os.getpid()
        self._wakeup, wakeup_write = socket.socketpair()
        self._wakeup.setblocking(False)
        wakeup_write.setblocking(False)
        self._wakeup_write = wakeup_write
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup_write.fileno(), warn_on_full_buffer=False)

    def obey(self) -> None:
        """Carry out orders until the supervisor's end of the channel closes, then stop every child."""
        with contextlib.suppress(OSError):  # the supervisor has gone already: the loop sees it at once
            wire.send(self._channel, {"event": "warm"})
        while not self._reader.closed:
            ready, _, _ = select.select([self._channel, self._wakeup], [], [])
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wakeup.recv(4096)
            self._reap()
            if self._channel in ready:
                for order, fds in self._reader.read():
                    self._carry_out(order, fds)
        self._stop_everything()

    def _carry_out(self, order: dict[str, Any], fds: list[int]) -> None:
        if order["do"] == "start":
            pid = self._fork(order, fds)
            wire.send(self._channel, {"event": "started", "token": order["token"], "pid": pid})
        elif order["do"] == "signal" and order["pid"] in self._children:
            self._signal(order["pid"], order["signal"])

    def _fork(self, order: dict[str, Any], fds: list[int]) -> int:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._become(order, fds)
                status = run_child(order, fds)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                os._exit(status)
        self._children.add(pid)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # also done by the child: whoever comes first
        for fd in fds:
            os.close(fd)
        return pid

    def _become(self, order: dict[str, Any], fds: list[int]) -> None:
        """Turn the fork into a process of its own: group, death signal, signals, streams, environment, folder."""
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        if LIBC is not None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._pid:  # the launcher died before the death signal was set
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for channel in (self._channel, self._wakeup, self._wakeup_write):
            channel.close()
        log = fds.pop(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(nothing)
        os.close(log)
        os.environ.clear()
        os.environ.update(order["env"])
        os.chdir(order["folder"])

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._children:
                self._children.discard(pid)
                self._signal_group(pid, signal.SIGKILL)
                self._kill_strays()
                message = {"event": "exit", "pid": pid, "status": os.waitstatus_to_exitcode(status)}
                with contextlib.suppress(OSError):
                    wire.send(self._channel, message)

    def _signal(self, pid: int, number: int) -> None:
        if number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL):
            self._signal_group(pid, number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def _signal_group(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)

    def _kill_strays(self) -> None:
        """Kill what a service has left behind in a session of its own (Linux: such processes become our children)."""
        for pid in own_children() - self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _stop_everything(self) -> None:
        for pid in self._children:
            self._signal_group(pid, signal.SIGCONT)
            self._signal_group(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        while self._children and time.monotonic() < end:
            select.select([self._wakeup], [], [], 0.02)
            self._reap()
        for pid in list(self._children):
            self._signal_group(pid, signal.SIGKILL)
        for _ in range(5):
            self._kill_strays()
            self._reap()
            time.sleep(0.005)


def own_children() -> set[int]:
    """Return the pids of this process's children; empty where /proc does not tell."""
    found: set[int] = set()
    for listing in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in listing.read_text().split()}
    return found


def run_child(order: dict[str, Any], fds: list[int]) -> int:
    """Run one order in the forked child: execute a program, or serve in this very interpreter.

    `argv` executes; `app`, `grpc`, `tcp` and `call` serve here, or with `cold` in a fresh interpreter, which has a
    hash seed and imports of its own.
    """
    if "argv" in order:
        os.execvpe(order["argv"][0], order["argv"], order["env"])
    if order.get("cold"):
        for number, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SPARE_FD) for fd in fds]):
            os.dup2(fd, 3 + number)  # dup2 makes it inheritable
        asked = {key: order[key] for key in ("app", "call", "grpc", "tcp", "place") if key in order}
        entry = "lab_services.runtime.serve" + "".join(f"_{key}" for key in ("grpc", "tcp") if key in order)
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), order["env"].get("PYTHONPATH")]))
        argv = [sys.executable, "-m", entry, json.dumps({**asked, "sockets": len(fds)})]
        os.execvpe(sys.executable, argv, {**order["env"], "PYTHONPATH": path})
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sockets = [socket.socket(fileno=fd) for fd in fds]
    if "grpc" in order:
        from lab_services.runtime import serve_grpc

        return serve_grpc.serve(order["grpc"], order["place"], sockets[0])
    if "tcp" in order:
        from lab_services.runtime import serve_tcp

        return serve_tcp.serve(order["tcp"], sockets[1], sockets[0])
    from lab_services.runtime import serve

    return serve.run(order, sockets)


def main() -> None:
    """Entry: `python -m lab_services.runtime.launcher '["nats", ...]'`, the channel as descriptor 0."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    warm_up(json.loads(sys.argv[1]))
    Launcher(channel).obey()


if __name__ == "__main__":
    main()
