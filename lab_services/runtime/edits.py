"""Which saved files changed, and whose they are. What the disk says counts; a watcher only says when to look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from lab_services.errors import LabError
from lab_services.runtime import states
from lab_services.runtime.service import Service

SOURCES = (".py", ".ts", ".proto", ".conf", ".yml")

Stamp = tuple[int, int, int]


class Edits:
    """Restarts what a saved file touched, one round at a time."""

    def __init__(self, workspace: Path, services: Callable[[], Iterable[Service]]) -> None:
        self._workspace = workspace
        self._services = services
        self._seen = stamps(workspace)
        self._round = asyncio.Lock()

    async def apply(self) -> None:
        """Bring the running services up to what is saved now; a version that cannot run is kept as `edit_error`."""
        async with self._round:
            now = stamps(self._workspace)
            changed = {path for path in self._seen.keys() | now.keys() if self._seen.get(path) != now.get(path)}
            self._seen = now
            touched = [service for service in self._services() if changed and uses(service, changed)]
            await asyncio.gather(*map(_restart, touched))

    async def watch(self, stop: asyncio.Event) -> None:
        """Apply edits as they are saved, until `stop` is set."""
        from watchfiles import awatch

        async for _ in awatch(self._workspace, watch_filter=_is_source, debounce=50, step=10, stop_event=stop):
            await self.apply()


def stamps(folder: Path) -> dict[str, Stamp]:
    """Return time, size and inode of every source file below `folder`, by relative path; hidden folders excepted."""
    found = {}
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.suffix in SOURCES and not any(part.startswith(".") for part in relative.parts):
            try:
                facts = path.stat()
            except OSError:
                continue
            found[str(relative)] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    return found


def uses(service: Service, changed: set[str]) -> bool:
    """Say whether a service must take notice of the changed files."""
    if service.state in (states.STOPPED, states.KILLED, states.PAUSED):
        return False
    if service.spec.kind != "run":
        return service.spec.config in changed
    if service.edit_error is not None or service.state in (states.CRASHED, states.UNREADY):
        return True  # any file may be the one that mends it
    module = service.spec.target.split(":")[0]
    main = module if module.endswith(".ts") else module.replace(".", "/") + ".py"
    return bool(changed & {main, *service.replicas[0].files})


async def _restart(service: Service) -> None:
    service.edit_error = None
    try:
        await service.take_edit()
    except LabError as error:
        service.edit_error = error


def _is_source(_: object, path: str) -> bool:
    return path.endswith(SOURCES)
