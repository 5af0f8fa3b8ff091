"""What the set-up says when the machine is not as it needs to be: four parts each, and the command that mends it.

Standard library only, and written so that an old Python can still read it: it has to say "too old" somewhere.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from .errors import LabError, MachineError, MissingProgram

OLDEST = (3, 11)
DISK_BYTES = 1_500_000_000  # the packages take about 0.6 GB; pip needs room to unpack
LAST_LINES = 8
AGAIN = "python3 -m lab_services {}"

NETWORK_SIGNS = (
    "NewConnectionError|Temporary failure in name resolution|Name or service not known|nodename nor servname|"
    "getaddrinfo|dns error|Failed to establish a new connection|Network is unreachable|Connection refused|"
    "ProxyError|Read timed out|ConnectTimeout|error sending request|No route to host"
)
DISK_SIGNS = "No space left on device|Disk quota exceeded|os error 28"
FOLDER_SIGNS = "Permission denied|Read-only file system|os error 13|os error 30"
NOT_COMPILED = re.compile(r"Failed (?:building wheel for|to build) [`'(]*([\w.-]+)")
NO_WHEEL = re.compile(r"No matching distribution found for ([\w.-]+)|no wheels? (?:for|with) .*?`?([\w.-]+)")


def refuse_windows(system: str) -> None:
    """Say that Windows is reached through WSL2."""
    if system != "win32":
        return
    raise MachineError(
        "the course runs on Linux and macOS; on Windows it runs inside WSL2",
        where="this is Python for Windows",
        evidence="the labs fork and signal processes, which Windows itself does not offer",
        next_step="wsl --install   (once, in PowerShell)\nthen clone the course inside Ubuntu and start it there",
    )


def refuse_old_python(version: tuple[int, ...], executable: str) -> None:
    """Say which Python is needed, and name a newer one when it is already here."""
    if tuple(version[:2]) >= OLDEST:
        return
    raise MachineError(
        "this Python is too old for the course",
        where=executable,
        evidence=f"it is {'.'.join(map(str, version[:3]))}; the course needs 3.11 or newer",
        next_step=_newer_python(),
    )


def _newer_python() -> str:
    for minor in (13, 12, 11):
        found = shutil.which(f"python3.{minor}")
        if found:
            return f"{found} -m lab_services open"
    return _by_system(
        mac="brew install python@3.12", debian="sudo apt install python3.12 python3.12-venv   (or 3.11, 3.13)"
    )


def _by_system(mac: str, debian: str) -> str:
    return mac if sys.platform == "darwin" else debian


def no_venv(version: tuple[int, ...]) -> LabError:
    """Build the message for a Python that can make no environment: Debian splits `venv` and pip off."""
    return MissingProgram(
        "this Python can make no environment: its venv part is missing, and so is pip",
        where=sys.executable,
        evidence="no module named ensurepip, no module named pip; uv is not on PATH either",
        next_step=_by_system(
            mac="brew install python@3.12",
            debian=f"sudo apt install python3-venv   (or python3.{version[1]}-venv)",
        ),
    )


def refuse_bad_folder(root: Path) -> None:
    """Say it when the folder cannot be written to, or its disk is as good as full."""
    if not os.access(root, os.W_OK | os.X_OK):
        raise unwritable(root, f"you are {_user()}; the folder does not let you write")
    free = shutil.disk_usage(root).free
    if free < DISK_BYTES:
        raise disk_full(root, f"{free / 1e9:.1f} GB are free; the packages need about {DISK_BYTES / 1e9:.1f} GB")


def _user() -> str:
    return os.environ.get("USER") or f"user {os.getuid()}"


def unwritable(folder: Path, evidence: str) -> LabError:
    """Build the message for a folder that cannot be written to."""
    return MachineError(
        "the course cannot write into its own folder",
        where=str(folder),
        evidence=evidence,
        next_step="clone the course into a folder of your own, for instance below your home folder, and start it there",
    )


def disk_full(folder: Path, evidence: str) -> LabError:
    """Build the message for a full disk."""
    return MachineError(
        "there is not enough free disk space to set the course up",
        where=str(folder),
        evidence=evidence,
        next_step="free some space (`pip cache purge` is a safe start), then type the same command again",
    )


def refused(error: OSError, root: Path, command: str) -> LabError:
    """Turn what the operating system refused during the set-up into a message with its four parts."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(root, str(error))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return unwritable(root, str(error))
    return MachineError(
        "the set-up was refused something by the operating system",
        where=str(error.filename or root),
        evidence=str(error),
        next_step=AGAIN.format(command),
    )


def installation_failed(output: str, log: Path, command: str) -> LabError:
    """Read pip's or uv's output and name the cause; the same command picks up where it stopped."""
    evidence = "\n".join([*output.strip().splitlines()[-LAST_LINES:], f"the whole log: {log}"])
    again = AGAIN.format(command)
    if re.search(DISK_SIGNS, output):
        return disk_full(log.parent.parent, evidence)
    if re.search(FOLDER_SIGNS, output):
        return unwritable(log.parent.parent, evidence)
    if re.search(NETWORK_SIGNS, output):
        return MachineError(
            "the packages could not be fetched: the package index was not reached",
            where="the network of this machine",
            evidence=evidence,
            next_step="check the connection (behind a proxy: set HTTPS_PROXY), then: " + again,
        )
    compiled = NOT_COMPILED.search(output)
    if compiled:
        return _no_compiler(compiled.group(1).partition("==")[0], evidence, again)
    missing = NO_WHEEL.search(output)
    if missing:
        return _no_wheel(missing.group(1) or missing.group(2), evidence)
    return MachineError("the packages could not be installed", where=str(log), evidence=evidence, next_step=again)


def _no_compiler(package: str, evidence: str, again: str) -> LabError:
    tools = _by_system(mac="xcode-select --install && brew install rust", debian="sudo apt install gcc python3-dev")
    return MissingProgram(
        f"the package {package} has no ready-made form for this machine, and could not be compiled here",
        where=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        evidence=evidence,
        next_step=f"{tools}\nthen: {again}",
    )


def _no_wheel(package: str, evidence: str) -> LabError:
    return MachineError(
        f"the package {package} does not exist for this machine",
        where=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        evidence=evidence,
        next_step="use Python 3.11, 3.12 or 3.13 on Linux with glibc (x86_64, aarch64) or on macOS 13 or newer",
    )
