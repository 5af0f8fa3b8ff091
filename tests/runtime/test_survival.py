"""Whatever dies, nothing is left behind: no process, no listening port; and the next start works."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from lab_services.errors import AlreadyRunning, LabError, RuntimeLost
from lab_services.runtime.processes import Process
from lab_services.runtime.registry import sweep
from tests.runtime.conftest import HELLO, Maker, alive, family, marked_pids, refused, service, until, word, write

ROOT = Path(__file__).parents[2]

STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HELLO.replace(
    'WORD = "hello"', 'WORD = "stubborn"'
)
GRANDCHILD = HELLO + (
    "\nimport subprocess, sys\n"
    'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)\n'
    '@app.get("/grandchild")\ndef grandchild(): return child.pid\n'
)
DEAF = HELLO.replace(
    "app = FastAPI()",
    "import signal, contextlib\n"
    "@contextlib.asynccontextmanager\n"
    "async def deaf(app):\n"
    "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "    yield\n"
    "app = FastAPI(lifespan=deaf)",
)

START = """
import sys, os
sys.path.insert(0, {root!r})
os.environ["COURSE_WORK"] = {work!r}
from pathlib import Path
from tests.runtime.conftest import service, town_spec, HELLO, write
from lab_services.lab import Lab
folder = Path({folder!r})
for name in "ab":
    write(folder / f"{{name}}.py", HELLO)
spec = town_spec(folder, service("a"), service("b"))
lab = Lab(spec, folder, Path({scratch!r}))
lab.start()
print(lab["a"].url, lab["b"].url, flush=True)
"""


class Kernel:
    """A real Jupyter kernel that has started a town."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self._start = START.format(
            root=str(ROOT), work=str(self.work), folder=str(folder), scratch=str(folder / "runs")
        )
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel()
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=30)
        self.urls = self.start_town()

    def start_town(self) -> list[str]:
        """Run the cell that starts the lab and return its addresses."""
        return self.run(self._start).split()

    def run(self, code: str) -> str:
        """Run one cell and return what it printed; fail with the kernel's error."""
        printed: list[str] = []

        def collect(message: dict[str, dict[str, str]]) -> None:
            if message["header"]["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, output_hook=collect, timeout=30)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed)

    def close(self) -> None:
        """End the kernel, whatever state it is in."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel that has started a town; ended afterwards."""
    started = Kernel(tmp_path)
    yield started
    started.close()


def nothing_left(work: Path, urls: list[str]) -> None:
    """Assert that soon no process of the work folder runs and no address listens."""
    until(lambda: not marked_pids(work), 8)
    until(lambda: all(refused(url) for url in urls))  # a process loses its environment before it loses its sockets


def test_a_killed_kernel_takes_the_city_with_it(kernel: Kernel) -> None:
    """After kill -9 of the notebook's kernel no service, supervisor or port is left."""
    assert word(kernel.urls[0]) == "hello"
    os.kill(kernel.manager.provisioner.pid, signal.SIGKILL)
    nothing_left(kernel.work, kernel.urls)


def test_a_restarted_kernel_finds_a_free_lab(kernel: Kernel) -> None:
    """Restart Kernel stops the city; running the cells again starts it anew."""
    before = marked_pids(kernel.work)
    kernel.manager.restart_kernel(now=False)
    kernel.client.wait_for_ready(timeout=30)
    urls = kernel.start_town()
    assert word(urls[0]) == "hello"
    assert not [pid for pid in before if alive(pid)]


def test_an_interrupted_kernel_keeps_the_city(kernel: Kernel) -> None:
    """Interrupt Kernel stops the cell, not the services."""
    before = sorted(marked_pids(kernel.work))
    message = kernel.client.execute("import time\nprint('in the loop', flush=True)\nwhile True: time.sleep(0.01)")
    until(lambda: "in the loop" in kernel.client.get_iopub_msg(timeout=5)["content"].get("text", ""))
    kernel.manager.interrupt_kernel()
    reply = kernel.client.get_shell_msg(timeout=10)
    assert reply["parent_header"]["msg_id"] == message
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert word(kernel.urls[0]) == "hello"
    assert sorted(marked_pids(kernel.work)) == before


def test_a_killed_supervisor_leaves_nothing_and_start_works_again(make_town: Maker, tmp_path: Path) -> None:
    """After kill -9 of the supervisor everything goes, the next call says so, and start() brings the city back."""
    lab = make_town(service("a"), service("b"), b=GRANDCHILD)
    lab.start()
    urls, pids = [lab["a"].url, lab["b"].url], family(lab)
    os.kill(pids[0], signal.SIGKILL)
    nothing_left(tmp_path / "work", urls)
    until(lambda: not [pid for pid in pids if alive(pid)])
    with pytest.raises(RuntimeLost) as lost:
        lab["a"]
    assert "lab.start()" in lost.value.next_step
    lab.start()
    assert word(lab["a"].url) == "hello"


def test_a_killed_launcher_leaves_nothing_and_start_works_again(make_town: Maker, tmp_path: Path) -> None:
    """After kill -9 of the process that forks, the services go with it and start() works again."""
    lab = make_town(service("a"), service("b"), b=GRANDCHILD)
    lab.start()
    supervisor = psutil.Process(lab._client.pid)  # type: ignore[union-attr]
    urls = [lab["a"].url]
    os.kill(supervisor.children()[0].pid, signal.SIGKILL)
    nothing_left(tmp_path / "work", urls)
    with pytest.raises(RuntimeLost):
        lab["a"]
    lab.start()
    assert word(lab["a"].url) == "hello"


def test_supervisor_and_launcher_killed_at_once_leave_nothing(make_town: Maker, tmp_path: Path) -> None:
    """Even when both are killed at the same instant, a grandchild in a session of its own is swept."""
    lab = make_town(service("a", launch="warm"), a=GRANDCHILD)
    lab.start()
    grandchild, urls = httpx.get(lab["a"].url + "/grandchild").json(), [lab["a"].url]
    supervisor = psutil.Process(lab._client.pid)  # type: ignore[union-attr]
    victims = [supervisor.children()[0].pid, supervisor.pid]
    supervisor.suspend()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    nothing_left(tmp_path / "work", urls)
    assert not alive(grandchild)


def test_a_service_that_ignores_sigterm_is_stopped(make_town: Maker) -> None:
    """stop() ends a service that does not listen to SIGTERM."""
    lab = make_town(service("a"), a=DEAF)
    lab.start()
    [pid] = lab["a"].pids
    url = lab["a"].url
    lab.stop()
    assert not alive(pid)
    assert refused(url)


@pytest.mark.parametrize("how", ["kill", "stop", "edit"])
def test_a_grandchild_in_its_own_session_goes_with_its_service(make_town: Maker, how: str) -> None:
    """What a service has started in a session of its own ends with the service."""
    lab = make_town(service("a"), a=GRANDCHILD)
    lab.start()
    grandchild = httpx.get(lab["a"].url + "/grandchild").json()
    assert alive(grandchild)
    if how == "edit":
        write(lab.folder / "a.py", HELLO)
        assert word(lab["a"].url) == "hello"
    else:
        lab.kill("a") if how == "kill" else lab.stop()
    until(lambda: not alive(grandchild))


@pytest.mark.parametrize(("grace", "sent"), [(0.0, ["SIGKILL"]), (0.01, ["SIGCONT", "SIGTERM", "SIGKILL"])])
def test_a_kill_is_no_goodbye(grace: float, sent: list[str]) -> None:
    """A crash is SIGKILL alone: a SIGTERM before it would let a broker hand over what it leads."""
    orders: list[str] = []

    class Launcher:
        def order(self, message: dict[str, int]) -> None:
            orders.append(signal.Signals(message["signal"]).name)
            if message["signal"] == signal.SIGKILL:
                process.has_ended(-signal.SIGKILL)

    async def kill() -> None:
        nonlocal process
        process = Process(1, Launcher(), None)  # type: ignore[arg-type]
        await process.end(grace)

    process: Process
    asyncio.run(kill())
    assert orders == sent


def test_a_slept_laptop_wakes_up_with_its_city(make_town: Maker) -> None:
    """All processes frozen and woken again: the same processes serve, and edits still work."""
    lab = make_town(service("a"), service("b"))
    lab.start()
    pids, url = family(lab), lab["a"].url
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            os.kill(pid, number)
        if number == signal.SIGSTOP:
            with pytest.raises(httpx.TimeoutException):
                httpx.get(url, timeout=0.3)
    assert word(url) == "hello"
    assert {state.state for state in lab.states()} == {"ready"}
    assert family(lab) == pids
    write(lab.folder / "a.py", HELLO.replace("hello", "changed"))
    assert word(lab["a"].url) == "changed"


def test_a_second_notebook_on_the_same_lab_is_told(make_town: Maker, tmp_path: Path) -> None:
    """Two kernels on one lab: the second is refused by name, the first keeps its city."""
    first, second = make_town(service("a")), make_town(service("a"))
    first.start()
    with pytest.raises(AlreadyRunning) as refusal:
        second.start()
    assert "already running in another notebook" in refusal.value.what
    assert "course down" in refusal.value.next_step
    assert word(first["a"].url) == "hello"
    first.stop()
    second.start()
    assert word(second["a"].url) == "hello"


def test_course_down_stops_a_city_of_another_kernel(make_town: Maker, tmp_path: Path) -> None:
    """sweep(everything=True), which is `course down --all`, ends living supervisors and says which."""
    lab = make_town(service("a"))
    lab.start()
    url = lab["a"].url
    told = sweep(everything=True)
    assert any(line.startswith("10_town: stopped") for line in told)
    nothing_left(tmp_path / "work", [url])


def test_a_sweep_leaves_living_labs_alone(make_town: Maker) -> None:
    """The sweep at every open_lab stops only what dead supervisors have left."""
    lab = make_town(service("a"))
    lab.start()
    assert sweep() == []
    assert word(lab["a"].url) == "hello"


def test_the_next_open_sweeps_what_a_double_crash_left(make_town: Maker, tmp_path: Path) -> None:
    """A leftover of a run whose supervisor is gone is found by its mark and stopped, and only it."""
    lab = make_town(service("a"))
    lab.start()
    mark = psutil.Process(lab._client.pid).environ()["COURSE_RUN"]  # type: ignore[union-attr]
    entry = next((tmp_path / "work" / ".run").glob("*.json"))
    kept = entry.read_text()
    lab.close()
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    leftover = subprocess.Popen(sleep, env={**os.environ, "COURSE_RUN": mark}, start_new_session=True)
    stranger = subprocess.Popen(sleep)
    try:
        entry.write_text(kept)
        until(lambda: psutil.Process(leftover.pid).environ().get("COURSE_RUN") == mark)
        assert "1 leftover" in " ".join(sweep())
        leftover.wait(5)
        assert stranger.poll() is None
        assert not entry.exists()
    finally:
        for process in (leftover, stranger):
            process.kill()
            process.wait()


def test_a_pipe_held_open_by_a_stranger_does_not_keep_the_city(tmp_path: Path) -> None:
    """A fork of the kernel that keeps the supervisor's pipe open does not keep the services alive after the kernel."""
    start = START.format(
        root=str(ROOT), work=str(tmp_path / "work"), folder=str(tmp_path), scratch=str(tmp_path / "runs")
    )
    enough = tmp_path / "enough"
    code = start + textwrap.dedent(
        f"""
        import signal, time
        if os.fork() == 0:
            os.setsid()
            while not os.path.exists({str(enough)!r}): time.sleep(0.05)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    told = tmp_path / "told"
    with told.open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, timeout=30, cwd=ROOT, check=False)
    urls = told.read_text().split()
    assert len(urls) == 2
    nothing_left(tmp_path / "work", urls)
    enough.touch()


def test_a_supervisor_that_died_unnoticed_is_replaced_at_the_next_start(make_town: Maker) -> None:
    """start() right after the supervisor's death, before anybody has noticed it, brings the city back."""
    lab = make_town(service("a"))
    lab.start()
    supervisor = lab._client.pid  # type: ignore[union-attr]
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not alive(supervisor))
    lab.start()
    assert word(lab["a"].url) == "hello"


def test_a_supervisor_that_dies_while_it_is_asked_is_replaced(
    make_town: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """start() whose order meets a supervisor that nobody has seen dying yet brings the city back all the same."""
    lab = make_town(service("a"))
    lab.start()
    client = lab._client
    assert client is not None
    os.kill(client.pid, signal.SIGKILL)
    until(lambda: not client.alive)
    seen = iter([None])  # the first look is too early: the kernel has not told yet
    monkeypatch.setattr(client._process, "poll", lambda: next(seen, -signal.SIGKILL))
    lab.start()
    assert lab._client is not client and word(lab["a"].url) == "hello"


def test_an_order_that_makes_no_sense_is_answered(make_town: Maker) -> None:
    """A mistake inside the supervisor is an error at once, not a notebook that waits for minutes."""
    lab = make_town(service("a"))
    lab.start()
    with pytest.raises(LabError, match="a mistake in the course"):
        lab._ask("scale", name="a", count="many")
    assert word(lab["a"].url) == "hello"
