"""The pytest plugin of the checks: which checks run, in which city, for how long, and what is written down.

Loaded with `-p lab_services.checks.plugin`. It is told by the environment what to judge:

    COURSE_CHECK_LAB         the lab
    COURSE_CHECK_WORKSPACE   the folder that is judged (default: the learner's own)
    COURSE_CHECK_TASK        the task; empty for all
    COURSE_CHECK_NAMES       only these checks, with commas between
    COURSE_CHECK_RESULT      the JSON file to write; its folder is used as scratch
    COURSE_CHECK_LEASE       file descriptor; at its end this process ends
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab_services.checks import limits
from lab_services.checks.cities import Cities
from lab_services.checks.fake_bank import FakeBank, FakeLock
from lab_services.checks.fakes import FakeService, Handler
from lab_services.checks.judge_one import Judge, check_name
from lab_services.checks.recorder import Recorder
from lab_services.checks.selection import Check, selected
from lab_services.runtime.spec import LabSpec, load_spec

SPEC = pytest.StashKey[LabSpec]()
PLAN = pytest.StashKey[dict[str, Check]]()
JUDGE = pytest.StashKey[Judge]()


def pytest_configure(config: pytest.Config) -> None:
    """Read what to judge; without COURSE_CHECK_LAB the plugin only offers its fakes."""
    config.addinivalue_line("markers", "city(skip, weather, seed, replace, started, shape): how the city starts")
    if lease := os.environ.pop("COURSE_CHECK_LEASE", ""):
        limits.end_with(int(lease))
    if lab := os.environ.get("COURSE_CHECK_LAB"):
        config.stash[SPEC] = spec = load_spec(lab)
        names = os.environ.get("COURSE_CHECK_NAMES", "")
        plan = selected(spec, os.environ.get("COURSE_CHECK_TASK") or None, names.split(",") if names else None)
        config.stash[PLAN] = {check.name: check for check in plan}
    if result := os.environ.get("COURSE_CHECK_RESULT"):
        config.stash[JUDGE] = Judge(Recorder(Path(result)), config.stash[SPEC], config.stash[PLAN])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the checks that are asked for, in the order of lab.toml."""
    if (plan := config.stash.get(PLAN, None)) is None:
        return
    order = {name: place for place, name in enumerate(plan)}
    config.hook.pytest_deselected(items=[item for item in items if check_name(item) not in order])
    items[:] = sorted((item for item in items if check_name(item) in order), key=lambda item: order[check_name(item)])


def pytest_exception_interact(node: Any, call: pytest.CallInfo[Any]) -> None:
    """Note a check file that cannot be imported."""
    if isinstance(node, pytest.Collector) and (judge := node.config.stash.get(JUDGE, None)) is not None:
        judge.recorder.uncollected(f"{node.name}: {call.excinfo.exconly() if call.excinfo else 'unknown'}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Write down that a check begins and that it has ended."""
    judge = item.config.stash.get(JUDGE, None)
    if judge is not None:
        judge.begin(item)
    handled = yield
    if judge is not None:
        judge.recorder.end()
    return handled


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Bound the start of the city."""
    with limits.bounded(limits.START_SECONDS, "starting the city"):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Bound the check itself."""
    with limits.bounded(limits.check_seconds(), "the check"):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Bound the stop of the city."""
    with limits.bounded(limits.STOP_SECONDS, "stopping the city"):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn what happened in one phase into a row, while the city can still be asked."""
    report = yield
    if (judge := item.config.stash.get(JUDGE, None)) is not None:
        judge.phase(item, report, call.excinfo.value if call.excinfo else None)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down that the run came to its end."""
    if (judge := session.config.stash.get(JUDGE, None)) is not None:
        judge.recorder.finish()


@pytest.fixture(scope="session")
def lab_class() -> Callable[..., Any]:
    """The class of the city; a test of the checks themselves puts a stand-in here."""
    from lab_services.lab import Lab

    return Lab


@pytest.fixture(scope="session")
def cities(request: pytest.FixtureRequest, lab_class: Callable[..., Any]) -> Iterator[Cities]:
    """The one lab of this session: its runtime stays warm from check to check."""
    opened = Cities(request.config.stash[SPEC], lab_class)
    yield opened
    opened.close()


@pytest.fixture
def city(request: pytest.FixtureRequest, cities: Cities) -> Iterator[Any]:
    """A freshly started city of the judged workspace, with data of its own.

    `@pytest.mark.city(...)` says how it starts: skip, weather, seed, shape, started=False, and
    replace={"wallet": "fake_bank"} with the name of a fixture that has a `url`, or with an address.
    """
    mark = request.node.get_closest_marker("city")
    options = dict(mark.kwargs) if mark else {}
    check = request.config.stash[PLAN].get(check_name(request.node))
    shape = options.pop("shape", check.shape if check else None)
    options["replace"] = {
        name: where if "://" in where else request.getfixturevalue(where).url
        for name, where in options.get("replace", {}).items()
    }
    started = options.pop("started", True)
    with cities.city(shape, options if started else None) as running:
        yield running


@pytest.fixture
def spy_on() -> Iterator[Callable[[Any], Any]]:
    """Look on at the broker of a running city: spy_on(city) is a Spy, who may do everything there."""
    from lab_services.checks.broker_probes import spying  # most checks have no broker

    with ExitStack() as spies:
        yield lambda city: spies.enter_context(spying(city["broker"].url))


@pytest.fixture
def fake_service() -> Iterator[Callable[[str, Handler], FakeService]]:
    """Make stand-ins for services: fake_service(name, handler) with `.url` and a ledger `.calls`."""
    made: list[FakeService] = []

    def make(name: str, handler: Handler) -> FakeService:
        made.append(FakeService(name, handler))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def fake_grpc() -> Iterator[Callable[[Callable[[Any], Any]], Any]]:
    """Make stand-ins for services that speak gRPC: fake_grpc(handler) with `.target`, `.url` and a ledger `.calls`."""
    from lab_services.checks.fake_grpc import FakeGrpc  # most checks speak no gRPC

    made: list[FakeGrpc] = []

    def make(handler: Callable[[Any], Any]) -> FakeGrpc:
        made.append(FakeGrpc(handler))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def fake_bank() -> Iterator[FakeBank]:
    """A wallet with a ledger of calls that can fail, delay or drop answers."""
    bank = FakeBank()
    yield bank
    bank.close()


@pytest.fixture
def fake_lock() -> Iterator[FakeLock]:
    """Docks with a ledger of openings."""
    lock = FakeLock()
    yield lock
    lock.close()
