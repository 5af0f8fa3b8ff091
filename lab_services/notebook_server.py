"""Open JupyterLab on the course: the first chapter rendered, its table of contents beside it, nobody else let in."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import MachineError

FIRST_CHAPTER = "chapters/00_start_here.ipynb"
LOOPBACK = "127.0.0.1"
READY_SECONDS = 60.0
POLL_SECONDS = 0.1
TABLE_OF_CONTENTS = "@jupyterlab/toc:plugin"

# What a learner sees at first; JupyterLab keeps what they change in the same place, work/.jupyter.
FIRST_LAYOUT = {
    "data": {
        "layout-restorer:data": {
            "main": {"dock": None, "current": None},
            "left": {
                "collapsed": False,
                "visible": True,
                "current": TABLE_OF_CONTENTS,
                "widgets": ["filebrowser", "running-sessions", TABLE_OF_CONTENTS, "extensionmanager.main-view"],
            },
            "relativeSizes": [0.22, 0.78, 0],
        }
    },
    "metadata": {"id": "default"},
}


def open_notebooks(root: Path, work: Path, *, browser: bool = True, extra: Sequence[str] = ()) -> None:
    """Serve JupyterLab from this very process until it is told to stop; print its address as soon as it answers.

    Args:
        root: the folder of the course.
        work: the learner's folder; the layout of the window is kept there.
        browser: open a window; else the address on standard output is all.
        extra: further arguments for Jupyter itself.

    Raises:
        MachineError: the first chapter is not there.
    """
    if not (root / FIRST_CHAPTER).is_file():
        raise MachineError(
            "the first chapter is missing",
            where=str(root / FIRST_CHAPTER),
            next_step="git checkout -- chapters   (or get the course again)",
        )
    os.chdir(root)
    layouts = work / ".jupyter" / "workspaces"
    keep_first_layout(layouts)
    threading.Thread(target=announce, args=(os.getpid(),), daemon=True).start()

    from jupyterlab.labapp import LabApp

    LabApp.launch_instance(arguments(root, layouts, browser, extra))


def arguments(root: Path, layouts: Path, browser: bool, extra: Sequence[str]) -> list[str]:
    """Return Jupyter's arguments: loopback only, its token kept, the course as its root."""
    chosen = [
        f"--ServerApp.root_dir={root}",
        f"--ServerApp.ip={LOOPBACK}",
        "--ServerApp.log_level=WARN",
        f"--LabApp.default_url=/lab/tree/{FIRST_CHAPTER}",
        f"--LabApp.workspaces_dir={layouts}",
    ]
    if not browser:
        chosen.append("--no-browser")
    if os.geteuid() == 0:  # a container: Jupyter refuses to serve root unasked
        chosen.append("--allow-root")
    return [*chosen, *extra]


def keep_first_layout(layouts: Path) -> None:
    """Put the table of contents at hand at the first start, and never touch the learner's layout afterwards."""
    if layouts.is_dir() and any(layouts.iterdir()):
        return
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    layouts.mkdir(parents=True, exist_ok=True)
    WorkspacesManager(str(layouts)).save("default", json.dumps(FIRST_LAYOUT))


def announce(pid: int) -> None:
    """Print the address with its token once the server of that process answers."""
    from jupyter_core.paths import jupyter_runtime_dir

    note = Path(jupyter_runtime_dir()) / f"jpserver-{pid}.json"
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        address = address_in(note)
        if address:
            print(f"JupyterLab is open at {address}\nStop it with Ctrl-C.", flush=True)
            return
        time.sleep(POLL_SECONDS)
    print(f"JupyterLab did not answer within {READY_SECONDS:g} s; its own messages say why.", file=sys.stderr)


def address_in(note: Path) -> str:
    """Return the address of the first chapter from Jupyter's own note of a running server, or nothing yet."""
    try:
        server = json.loads(note.read_text())
    except (OSError, ValueError):
        return ""
    return f"{server['url']}lab/tree/{FIRST_CHAPTER}?token={server['token']}"
