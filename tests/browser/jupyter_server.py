"""Start JupyterLab on a copy of some notebooks, as the learner's machine would, and end it by its pid."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chapters.nbval_run import Surroundings

READY_SECONDS = 30
STOP_SECONDS = 15
STARTS = 3  # Jupyter picks a free port first and binds it later: another program may be quicker
SETTINGS = {
    # Every cell is in the page, so every cell is looked at.
    "notebook-extension/tracker": {"windowingMode": "none", "scrollPastLastCell": False},
    "apputils-extension/notification": {"fetchNews": "false"},
}


@dataclass(frozen=True)
class Jupyter:
    """A running JupyterLab: its address, its token and the environment its browser should run in."""

    url: str
    token: str
    env: dict[str, str]

    @property
    def lab(self) -> str:
        """Return the address of the page."""
        return f"{self.url}lab?token={self.token}&reset"


@contextmanager
def jupyter(notebooks: Sequence[Path], around: Surroundings) -> Iterator[Jupyter]:
    """Run JupyterLab in a private home over copies of the notebooks, in a folder `chapters`."""
    env = around.env({name: str(around.folder / place) for name, place in _PLACES.items()})
    for name, content in SETTINGS.items():
        file = around.folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    copies = around.folder / "course" / "chapters"
    copies.mkdir(parents=True)
    for notebook in notebooks:
        (copies / notebook.name).write_bytes(notebook.read_bytes())
    token = secrets.token_hex(16)
    process, url = _started(around.folder, {**env, "JUPYTER_TOKEN": token})
    try:
        yield Jupyter(url, token, env)
    finally:
        _end(process)


_PLACES = {
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
}


def _started(folder: Path, env: dict[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    for _ in range(STARTS):
        with (folder / "jupyter.log").open("ab") as log:
            process = subprocess.Popen(
                _command(folder), cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        url = _address(folder / "runtime" / f"jpserver-{process.pid}.json", process)
        if url:
            return process, url
        _end(process)
    raise RuntimeError("JupyterLab did not start:\n" + (folder / "jupyter.log").read_text(errors="replace")[-3000:])


def _command(folder: Path) -> list[str]:
    server = {"ip": "127.0.0.1", "port": "0", "root_dir": str(folder / "course"), "allow_root": "True"}
    options = [f"--ServerApp.{name}={value}" for name, value in server.items()]
    return [sys.executable, "-m", "jupyterlab", "--no-browser", "--LabApp.expose_app_in_browser=True", *options]


def _address(facts: Path, process: subprocess.Popen[bytes]) -> str | None:
    """Return the address that the server wrote down once it listens; None when it ended or took too long."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return str(json.loads(facts.read_text(encoding="utf-8"))["url"])
        except (OSError, ValueError, KeyError):
            time.sleep(0.05)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
