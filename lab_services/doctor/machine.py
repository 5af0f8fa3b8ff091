"""What the machine has to offer: a system, a Python, room, and a loopback network that nobody else answers on."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

from ..bootstrap import ROOT
from ..bootstrap_trouble import OLDEST
from .finding import Finding, shown

DISK_BYTES = 500_000_000  # data, logs and stored messages of the largest lab, several times over
KNOCKS = 5
KNOCK_SECONDS = 2.0
WATCH_SECONDS = 5.0
FORK_SECONDS = 20.0
LOOPBACK = "127.0.0.1"


def system() -> Finding:
    """Linux and macOS run the labs; Windows does inside WSL2."""
    if sys.platform == "win32":
        return Finding("system", False, "Windows without WSL2", "wsl --install, then clone and start inside Ubuntu")
    wsl = " inside WSL2" if "microsoft" in platform.release().lower() else ""
    return Finding("system", True, f"{platform.system()} {platform.machine()}{wsl}")


def python() -> Finding:
    """Python is new enough."""
    detail = f"{platform.python_version()} at {shown(sys.executable)}"
    if sys.version_info[:2] >= OLDEST:
        return Finding("Python", True, detail)
    mend = "brew install python@3.12" if sys.platform == "darwin" else "sudo apt install python3.12 python3.12-venv"
    return Finding("Python", False, f"{detail}; 3.11 or newer is needed", mend)


def disk(folder: Path = ROOT) -> Finding:
    """There is room for the data and the logs of a lab, and for what programs put aside while they run."""
    free = {place: shutil.disk_usage(place).free for place in (folder, Path(tempfile.gettempdir()))}
    place, least = min(free.items(), key=lambda entry: entry[1])
    if least >= DISK_BYTES:
        return Finding("free disk", True, f"{least / 1e9:.1f} GB")
    return Finding(
        "free disk",
        False,
        f"{least / 1e9:.2f} GB at {place}; {DISK_BYTES / 1e9:.1f} GB are needed",
        f"du -sh {place}/*",
    )


def fork() -> Finding:
    """Services start fast by forking; where that fails the labs work as well, only slower."""
    ask = "import os; child = os.fork(); child or os._exit(0); raise SystemExit(os.waitpid(child, 0)[1])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, timeout=FORK_SECONDS)
    if done.returncode == 0:
        return Finding("fork", True, "services can start from a warm parent", required=False)
    return Finding("fork", False, "does not work: services start slowly", "export COURSE_LAUNCH=cold", required=False)


def watching(folder: Path = ROOT) -> Finding:
    """A saved file is noticed, in the folder where the learner's files are."""
    from watchfiles import watch

    work = folder / "work"
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix=".doctor-") as place:
        stop = threading.Event()
        writer = threading.Thread(target=_keep_saving, args=(Path(place) / "saved.py", stop))
        writer.start()
        try:
            timeout = int(WATCH_SECONDS * 1000)
            noticed = next(watch(place, rust_timeout=timeout, yield_on_timeout=True, debounce=50, step=10), None)
        finally:
            stop.set()
            writer.join()
    if noticed:
        return Finding("file watching", True, "a saved file is noticed")
    mend = "export WATCHFILES_FORCE_POLLING=1"
    return Finding("file watching", False, f"a saved file in {shown(work)} is not noticed", mend)


def _keep_saving(file: Path, stop: threading.Event) -> None:
    saves = 0
    while not stop.wait(0.05):
        saves += 1
        file.write_text(f"saves = {saves}\n")


def proxies() -> Finding:
    """A proxy setting does not catch what the services say to each other."""
    caught = sorted(scheme for scheme in urllib.request.getproxies_environment() if scheme in ("http", "https", "all"))
    if not caught:
        return Finding("proxies", True, "none set")
    if urllib.request.proxy_bypass(LOOPBACK) and urllib.request.proxy_bypass("localhost"):
        return Finding("proxies", True, "set, and not for this machine itself")
    before = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    value = ",".join(part for part in (before, LOOPBACK, "localhost") if part)
    return Finding(
        "proxies",
        False,
        f"{', '.join(f'{scheme.upper()}_PROXY' for scheme in caught)} would catch calls to {LOOPBACK}",
        f"export NO_PROXY={value} no_proxy={value}",
    )


def neighbour() -> Finding:
    """A socket bound on loopback is reached over loopback, and nobody else answers in its place."""
    for _ in range(KNOCKS):
        trouble = _knock()
        if trouble:
            mend = "ss -ltnp   (macOS: lsof -nP -iTCP -sTCP:LISTEN), and end what listens on every port"
            return Finding("loopback", False, trouble, mend)
    return Finding("loopback", True, f"{KNOCKS} of {KNOCKS} calls to ourselves reached us")


def _knock() -> str:
    """Call ourselves once with a secret; return what went wrong, or nothing."""
    secret = secrets.token_bytes(16)
    with socket.create_server((LOOPBACK, 0)) as door:
        door.settimeout(KNOCK_SECONDS)
        try:
            with socket.create_connection(door.getsockname(), KNOCK_SECONDS) as caller:
                caller.sendall(secret)
                visitor, _ = door.accept()
                with visitor:
                    visitor.settimeout(KNOCK_SECONDS)
                    heard = visitor.recv(len(secret), socket.MSG_WAITALL)
        except OSError as error:
            return f"a call to our own port did not reach us: {error}"
    return "" if heard == secret else "somebody else's bytes arrived at our port"
