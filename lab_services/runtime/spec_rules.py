"""The rules a lab.toml must keep beyond types: every name it uses stands for something that is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lab_services.runtime.lab_toml import Table, did_you_mean
from lab_services.runtime.spec_cycle import refuse_cycle
from lab_services.runtime.spec_launch import read_launch
from lab_services.runtime.spec_metrics import read_metrics
from lab_services.runtime.spec_protocol import read_protocol
from lab_services.runtime.spec_server import read_config, refuse_odd_server
from lab_services.runtime.spec_sidecar import read_labels, refuse_odd_sidecars
from lab_services.runtime.spec_telemetry import read_telemetry, refuse_odd_telemetry
from lab_services.runtime.spec_types import Kind, ServiceSpec, TaskSpec

PACKAGE = Path(__file__).resolve().parents[1]
BIKESHARE = PACKAGE / "bikeshare"
SERVERS = PACKAGE / "servers"
MOST_REPLICAS = 16
SERVICE_KEYS = ("run", "use", "server", "needs", "calls", "env", "replicas", "launch", "speaks", "config",
                "sidecar", "labels", "extra", "metrics", "telemetry")  # fmt: skip
TASK_KEYS = ("id", "title", "shape", "files", "checks", "red", "hints", "hints_for")
OWN_ENV = ("DATA_DIR", "SERVICE_NAME", "REPLICA", "PORT", "METRICS_PORT")  # set by the runtime for every service

_SERVICE_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PYTHON = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*", re.ASCII)
_FILE = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)
_TASK_ID = re.compile(r"[0-9]+(\.[0-9]+)*")
_SHAPE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def read_services(table: Table, folder: Path) -> Mapping[str, ServiceSpec]:
    """Read one [services] table; refuse what names no file, no service, or goes in a circle."""
    services = {}
    for name in table.entries:
        if not _SERVICE_NAME.fullmatch(name):
            raise table.refuse(
                f"a service cannot be called {name!r}", next_step="use small letters, digits and _, a letter first"
            )
        services[name] = _service(name, table.table(name), folder)
    for name, service in services.items():
        _refuse_strangers(service, services, table.table(name))
    refuse_odd_sidecars(services, table)
    refuse_odd_telemetry(services, table)
    refuse_cycle(services, table)
    return MappingProxyType(services)


def read_shapes(table: Table, folder: Path) -> Mapping[str, Mapping[str, ServiceSpec]]:
    """Read the [shapes.*] tables, each of them a whole system."""
    shapes = {}
    for name in table.entries:
        shape = table.table(name)
        if not _SHAPE_NAME.fullmatch(name):
            raise shape.refuse(f"a shape cannot be called {name!r}", next_step="use small letters, digits, _ and -")
        shape.only(("services",))
        shapes[name] = read_services(shape.table("services"), folder)
        if not shapes[name]:
            raise shape.refuse(f"the shape {name!r} has no service", next_step=f"add [shapes.{name}.services.<name>]")
    return MappingProxyType(shapes)


def read_tasks(tables: tuple[Table, ...], folder: Path, shapes: tuple[str, ...], plain: bool) -> Mapping[str, TaskSpec]:
    """Read the [[tasks]]; `plain` says whether the lab has a system of its own beside its shapes."""
    from lab_services.runtime.check_names import check_names

    known = check_names(folder) if tables else frozenset()
    tasks: dict[str, TaskSpec] = {}
    for table in tables:
        task = _task(table, folder, shapes, plain, known)
        if task.id in tasks:
            raise table.refuse(f"two tasks have the id {task.id!r}", next_step="give one of them another id")
        tasks[task.id] = task
    return MappingProxyType(tasks)


def inside(table: Table, key: str, name: str) -> str:
    """Refuse a file name that could lead out of the lab folder."""
    if not _FILE.fullmatch(name):
        raise table.refuse(
            f"{key!r} of {table.name} names {name!r}, which is not a plain file name",
            next_step="name a file in the lab's own folder, with / between folders and without ..",
        )
    return name


def _service(name: str, table: Table, folder: Path) -> ServiceSpec:
    table.only(SERVICE_KEYS)
    kind = _kind(name, table)
    target = table.text(kind)
    {"run": _require_learners, "use": _require_finished, "server": _require_server}[kind](target, table, folder)
    replicas = table.whole("replicas", 1, MOST_REPLICAS, default=1)
    needs, calls = table.texts("needs"), table.texts("calls")
    typescript = target.endswith(".ts") or (kind == "use" and not (BIKESHARE / f"{target}.py").exists())
    launch, extra = read_launch(table, name, kind, typescript)
    speaks = read_protocol(table, name, kind, target, typescript)
    env, config = _environment(table.table("env")), read_config(table, name, kind, folder, _configuration)
    refuse_odd_server(table, kind, target, replicas, env)
    sidecar = table.text("sidecar") if "sidecar" in table.entries else ""
    metrics = read_metrics(table, name, kind, target, typescript, speaks)
    watched = (metrics, read_telemetry(table, name, kind, speaks, typescript, extra))
    mesh = (sidecar, read_labels(table.table("labels")))
    return ServiceSpec(name, kind, target, needs, calls, env, replicas, launch, speaks, config, *mesh, extra, *watched)


def _configuration(file: str, table: Table, folder: Path) -> str:
    require_file(inside(table, "config", file), table, folder)
    return file


def _kind(name: str, table: Table) -> Kind:
    kinds: tuple[Kind, ...] = ("run", "use", "server")
    given = [kind for kind in kinds if kind in table.entries]
    if len(given) == 1:
        return given[0]
    said = " and ".join(given) if given else "none of run, use, server"
    raise table.refuse(
        f"the service {name!r} has {said}; it takes exactly one",
        next_step=f'write run = "{name}:app", use = "{name}" or server = "nats"',
    )


def _require_learners(target: str, table: Table, folder: Path) -> None:
    python = _PYTHON.fullmatch(target)
    if not python and not target.endswith(".ts"):
        raise table.refuse(
            f"'run' of {table.name} is {target!r}", next_step='write "rides:app" (file rides.py) or "pricing.ts"'
        )
    file = python[1].replace(".", "/") + ".py" if python else inside(table, "run", target)
    require_file(file, table, folder)


def require_file(file: str, table: Table, folder: Path) -> None:
    """Refuse a file that the learner will not have."""
    if file == "lab.toml" or (Path(file).name.startswith("test_") and file.endswith(".py")):
        raise table.refuse(f"{table.name} names {file}, which learners do not get", next_step="name another file")
    if not (folder / file).is_file():
        there = sorted(path.name for path in folder.iterdir() if path.suffix in (".py", ".ts"))
        raise table.refuse(
            f"{table.name} names {file}, which is not in labs/{folder.name}{did_you_mean(file, there)}",
            evidence="files there are: " + (", ".join(there) or "none"),
            next_step=f"add labs/{folder.name}/{file} or name another file",
        )


def _require_finished(target: str, table: Table, folder: Path) -> None:
    there = {path.stem for path in BIKESHARE.glob("*") if path.suffix in (".py", ".ts") and path.stem[0] != "_"}
    _require_one_of(target, there, table, "use", "finished service")


def _require_server(target: str, table: Table, folder: Path) -> None:
    there = {path.stem for path in SERVERS.glob("*.py") if path.stem[0] != "_"}
    _require_one_of(target, there, table, "server", "kind of server")


def _require_one_of(target: str, there: set[str], table: Table, key: str, what: str) -> None:
    if target not in there:
        raise table.refuse(
            f"{key!r} of {table.name} is {target!r}: there is no such {what}{did_you_mean(target, there)}",
            evidence=f"there are: {', '.join(sorted(there)) or 'none'}",
            next_step=f"write one of these after {key} =",
        )


def _environment(table: Table) -> Mapping[str, str]:
    for name in table.entries:
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name) or name in OWN_ENV:
            why = "the runtime sets it" if name in OWN_ENV else "write capital letters, digits and _"
            raise table.refuse(f"{table.name} cannot hold {name!r}", next_step=f"choose another name: {why}")
    return MappingProxyType({name: table.text(name) for name in table.entries})


def _refuse_strangers(service: ServiceSpec, services: Mapping[str, ServiceSpec], table: Table) -> None:
    for key, names in (("needs", service.needs), ("calls", service.calls)):
        for name in names:
            if name not in services:
                raise table.refuse(
                    f"{service.name} {key} {name!r}, which is no service here{did_you_mean(name, services)}",
                    evidence="services here: " + ", ".join(services),
                    next_step=f"add [services.{name}] or correct the name",
                )
    both = set(service.needs) & set(service.calls)
    if both:
        raise table.refuse(f"{service.name} has {min(both)!r} in needs and in calls", next_step="keep one of them")


def _task(table: Table, folder: Path, shapes: tuple[str, ...], plain: bool, known: frozenset[str]) -> TaskSpec:
    table.only(TASK_KEYS)
    identity = table.text("id")
    if not _TASK_ID.fullmatch(identity):
        raise table.refuse(f"a task cannot have the id {identity!r}", next_step='write an id like "1.2"')
    files, checks, red = table.texts("files"), table.texts("checks"), table.texts("red")
    for file in files:
        require_file(inside(table, "files", file), table, folder)
    _refuse_unknown_checks(table, identity, checks, red, known)
    return TaskSpec(
        identity, table.text("title"), _shape(table, shapes, plain), files, checks, red,
        table.texts("hints"), _hints_for(table.table("hints_for"), checks),
    )  # fmt: skip


def _refuse_unknown_checks(
    table: Table, identity: str, checks: tuple[str, ...], red: tuple[str, ...], known: frozenset[str]
) -> None:
    if not checks:
        raise table.refuse(f"task {identity} has no checks", next_step='add checks = ["test_..."]')
    for name in checks:
        if name not in known:
            raise table.refuse(
                f"task {identity} lists the check {name!r}, which no test_*.py of the lab has"
                + did_you_mean(name, known),
                evidence="checks there are: " + (", ".join(sorted(known)) or "none"),
                next_step="write the function or correct the name",
            )
    for name in red:
        if name not in checks:
            raise table.refuse(
                f"task {identity} has {name!r} in red, which is not in its checks{did_you_mean(name, checks)}",
                next_step=f"add {name!r} to checks or correct the name",
            )


def _shape(table: Table, shapes: tuple[str, ...], plain: bool) -> str | None:
    shape = table.text("shape") if "shape" in table.entries else None
    if (shape is None and plain) or shape in shapes:
        return shape
    what = "names no shape, and the lab has no [services]" if shape is None else f"names the shape {shape!r}"
    raise table.refuse(
        f"{table.name} {what}{did_you_mean(shape or '', shapes)}",
        evidence="shapes there are: " + (", ".join(shapes) or "none"),
        next_step="write shape = one of these" if shapes else "remove 'shape'",
    )


def _hints_for(table: Table, checks: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    table.only(checks)
    return MappingProxyType({name: table.texts(name) for name in table.entries})
