"""The learner's copy: made once, whole; updated and reset without losing a byte, whatever is killed when."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lab_services.errors import LabError, MachineError, WorkspaceError
from lab_services.runtime import safe_files
from lab_services.runtime.spec import LabSpec, load_spec
from lab_services.runtime.workspace import (
    UpdateReport,
    lay_solution,
    open_workspace,
    reset,
    snapshot,
    starter_files,
    update,
    work_root,
)

TraceFunction = Callable[[FrameType, str, Any], Any]
RIDES = "# rides\n\none = 1\n\ntwo = 2\n\nthree = 3\n"
LAB = 'title = "x"\nminutes = 5\n[services.rides]\nrun = "rides:app"\n'
STARTER = {"rides.py": RIDES, "notes.md": "read me\n", "parts/city.py": "app = 1\n", "pricing.ts": "let a = 1;\n"}
HIDDEN = {"lab.toml": LAB, "test_checks.py": "def test_a(): ...\n", "__pycache__/rides.pyc": "x", ".hidden": "x"}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabSpec:
    """Write a course with one lab and point COURSE_WORK at an empty place."""
    folder = tmp_path / "course" / "labs" / "01_services"
    for name, content in {**STARTER, **HIDDEN}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    monkeypatch.setenv("COURSE_WORK", str(tmp_path / "work"))
    return load_spec("01", tmp_path / "course")


def tree(folder: Path) -> dict[str, str]:
    """Return every regular file below a folder with its text."""
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def in_a_child(act: Callable[[], object]) -> int:
    """Run act in a forked process and return its wait status; an exception that leaves it is status 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork beside threads; the child uses none of them
        pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    try:
        act()
        os._exit(0)
    except BaseException:
        os._exit(1)


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: what a killed process has written is there without, only a lost current would take it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Run act in a child that kills itself with -9 at its nth moment; say whether it got that far.

    A moment is a file operation that Python audits, or a line of the function that writes a file's bytes.
    """
    done = 0

    def moment() -> None:
        nonlocal done
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def operation(event: str, _: object) -> None:
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod"):
            moment()

    def line(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        if event == "line":
            moment()
        return line if frame.f_code is safe_files._write.__code__ else None

    def run() -> None:
        sys.addaudithook(operation)
        sys.settrace(line)
        act()

    status = in_a_child(run)
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return status != 0


def error_in_a_child(act: Callable[[], object], told: Path) -> LabError:
    """Run act in a child and return the LabError that it ended with."""

    def run() -> None:
        try:
            act()
        except LabError as error:
            sink.write(json.dumps(error.as_dict()))
            sink.flush()

    with told.open("w") as sink:
        in_a_child(run)
    return LabError.from_dict(json.loads(told.read_text()))


def test_a_learner_gets_everything_but_the_checks(lab: LabSpec) -> None:
    """The copy holds every file of the starter; lab.toml, the checks, caches and hidden files are not in it."""
    workspace = open_workspace(lab)
    assert workspace.folder == work_root() / "01_services"
    assert tree(workspace.folder) == STARTER
    assert tree(work_root() / ".base" / "01_services") == STARTER
    assert workspace.data("rides") == workspace.folder / ".data" / "rides"
    assert workspace.log("rides") == workspace.folder / ".logs" / "rides.log"


def test_nothing_is_left_beside_the_copy(lab: LabSpec) -> None:
    """After opening there is the copy, its base and a lock, no staging folder."""
    folder = open_workspace(lab).folder
    assert {path.name for path in folder.parent.iterdir()} == {"01_services", ".base", ".copy-01_services.lock"}


def test_opening_again_overwrites_nothing(lab: LabSpec) -> None:
    """A learner's change and a learner's own file are still there when the lab is opened again."""
    folder = open_workspace(lab).folder
    (folder / "rides.py").write_text("mine")
    (folder / "own.py").write_text("own")
    assert open_workspace(lab).folder == folder
    assert tree(folder) == {**STARTER, "rides.py": "mine", "own.py": "own"}


def test_the_copy_is_writable_and_keeps_what_can_be_run(lab: LabSpec) -> None:
    """Starter files installed read-only become writable copies; an executable stays one."""
    (lab.folder / "rides.py").chmod(0o444)
    (lab.folder / "notes.md").chmod(0o555)
    folder = open_workspace(lab).folder
    assert (folder / "rides.py").stat().st_mode & 0o200
    assert (folder / "notes.md").stat().st_mode & 0o100
    assert not (folder / "rides.py").stat().st_mode & 0o111


def test_work_stands_in_the_course_unless_told_otherwise(lab: LabSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without COURSE_WORK the copies are in work/ of the course folder."""
    root = lab.folder.parents[1]
    monkeypatch.delenv("COURSE_WORK")
    monkeypatch.setenv("COURSE_ROOT", str(root))
    assert open_workspace(lab).folder == root / "work" / "01_services"


def test_a_deleted_file_is_named_and_not_restored_by_itself(lab: LabSpec) -> None:
    """A starter file that the learner deleted is reported with what to type, and stays deleted until reset()."""
    workspace = open_workspace(lab)
    workspace.require()
    (workspace.folder / "rides.py").unlink()
    again = open_workspace(lab)
    assert again.missing() == ("rides.py",)
    with pytest.raises(WorkspaceError, match=r"no longer has rides\.py") as caught:
        again.require()
    assert "lab.reset()" in caught.value.next_step
    reset(lab)
    again.require()


@pytest.mark.parametrize("kind", ["file", "link outside", "link to nothing"])
def test_what_stands_in_the_way_is_refused(lab: LabSpec, tmp_path: Path, kind: str) -> None:
    """A file, or a link that leads out of work/, in the place of the copy is left alone and named."""
    (tmp_path / "elsewhere").mkdir()
    work_root().mkdir()
    place = work_root() / "01_services"
    if kind == "file":
        place.write_text("a letter")
    else:
        place.symlink_to(tmp_path / ("elsewhere" if kind == "link outside" else "work/nothing"))
    with pytest.raises(WorkspaceError, match="something else stands where your copy") as caught:
        open_workspace(lab)
    assert caught.value.where == str(place) and caught.value.evidence and caught.value.next_step
    assert os.path.lexists(place) and not any((tmp_path / "elsewhere").iterdir())


def test_a_link_inside_work_and_an_empty_folder_are_fine(lab: LabSpec) -> None:
    """An empty folder is filled; a copy that the learner moved within work/ and linked is used."""
    place = work_root() / "01_services"
    place.mkdir(parents=True)
    assert tree(open_workspace(lab).folder) == STARTER
    place.rename(work_root() / "moved")
    place.symlink_to(work_root() / "moved")
    assert tree(open_workspace(lab).folder) == STARTER


@pytest.mark.usefixtures("no_fsync")
def test_a_copy_killed_at_any_moment_leaves_all_or_nothing(lab: LabSpec) -> None:
    """kill -9 at each single file operation of the first opening: the next opening gives the whole copy."""
    step = 1
    while killed_at(step, lambda: open_workspace(lab)):
        folder = work_root() / "01_services"
        assert not folder.exists() or tree(folder) == STARTER
        open_workspace(lab).require()
        assert tree(folder) == STARTER == tree(work_root() / ".base" / "01_services")
        shutil.rmtree(work_root())
        step += 1
    assert step > 20


def test_what_a_crash_left_is_swept(lab: LabSpec) -> None:
    """Staging folders of a killed process are gone after the next copy."""
    work_root().mkdir()
    (work_root() / ".new-01_services-dead" / "copy").mkdir(parents=True)
    open_workspace(lab)
    assert not list(work_root().glob(".new-*"))


def test_two_processes_open_one_lab_at_once(lab: LabSpec) -> None:
    """Eight processes that open a lab in the same instant all get the one whole copy, and none fails."""
    code = (
        "import sys; from pathlib import Path; from lab_services.runtime.spec import load_spec;"
        "from lab_services.runtime.workspace import open_workspace; lab = load_spec('01', Path(sys.argv[1]));"
        "print('here', flush=True); sys.stdin.readline(); w = open_workspace(lab); w.require(); print(w.folder)"
    )
    command = [sys.executable, "-c", code, str(lab.folder.parents[1])]
    pipe = subprocess.PIPE
    children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(8)]
    for child in children:
        assert child.stdout and child.stdout.readline() == "here\n"
    for child in children:
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()
    answers = {child.communicate(timeout=30)[0] for child in children}
    assert answers == {f"{work_root() / '01_services'}\n"}
    assert [child.returncode for child in children] == [0] * 8
    assert tree(work_root() / "01_services") == STARTER


def test_a_lock_that_is_never_given_back_ends_the_wait(lab: LabSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for another process too long is told so, with the file of the lock."""
    monkeypatch.setattr(safe_files, "LOCK_SECONDS", 0.1)
    with (
        safe_files.staging(work_root(), "01_services"),
        pytest.raises(WorkspaceError, match="another process") as caught,
    ):
        open_workspace(lab)
    assert caught.value.where.endswith(".copy-01_services.lock")
    assert tree(open_workspace(lab).folder) == STARTER


def test_a_folder_that_cannot_be_written_is_said_plainly(lab: LabSpec, tmp_path: Path) -> None:
    """Without the permission to write, opening ends in a MachineError that names the folder."""
    work_root().mkdir(mode=0o500)

    def as_nobody() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        open_workspace(lab)

    error = error_in_a_child(as_nobody, tmp_path / "told")
    assert isinstance(error, MachineError)
    assert "COURSE_WORK" in error.next_step and "ermission" in error.evidence
    work_root().chmod(0o700)


def test_a_disk_without_room_leaves_no_half_copy(lab: LabSpec, tmp_path: Path) -> None:
    """When the system takes no more bytes, the error says so, and with room again the copy is whole."""
    (lab.folder / "large.txt").write_bytes(b"x" * 100_000)

    def with_little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        open_workspace(lab)

    error = error_in_a_child(with_little_room, tmp_path / "told")
    assert isinstance(error, MachineError) and "the disk is full" in error.what
    assert not (work_root() / "01_services").exists() and not list(work_root().glob(".new-*"))
    open_workspace(lab).require()


def test_a_full_disk_at_an_update_keeps_the_learners_file(lab: LabSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC while the new version is written leaves the old one whole."""
    folder = open_workspace(lab).folder
    (lab.folder / "rides.py").write_text("new\n")

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(safe_files, "_write", no_room)
        with pytest.raises(MachineError, match="the disk is full"):
            update(lab)
    assert tree(folder) == STARTER
    assert update(lab).taken == ("rides.py",)


def test_work_that_is_a_file_is_a_machine_error(lab: LabSpec) -> None:
    """A file in the place of work/ ends in one sentence, not in a traceback of the system."""
    work_root().write_text("")
    with pytest.raises(MachineError, match="cannot be used"):
        open_workspace(lab)


def change_the_starter(lab: LabSpec) -> None:
    """Publish a new version: one line changed in rides.py and pricing.ts, one new file, one file gone."""
    (lab.folder / "rides.py").write_text(RIDES.replace("one = 1", "one = 10"))
    (lab.folder / "pricing.ts").write_text("let a = 2;\n")
    (lab.folder / "parts" / "new.py").write_text("app = 3\n")
    (lab.folder / "notes.md").unlink()


def test_an_update_without_news_does_nothing(lab: LabSpec) -> None:
    """When the starter is what it was, every file is as before and the report says so."""
    folder = open_workspace(lab).folder
    (folder / "rides.py").write_text("mine")
    report = update(lab)
    assert report == UpdateReport(lab="01_services", kept=("rides.py",)) and not report.changed
    assert tree(folder) == {**STARTER, "rides.py": "mine"}
    assert "up to date" in repr(report)


def test_an_update_joins_both_sides_and_deletes_nothing(lab: LabSpec) -> None:
    """Unchanged files become new, changed ones are merged, new ones appear, dropped ones and own ones stay."""
    folder = open_workspace(lab).folder
    (folder / "rides.py").write_text(RIDES.replace("three = 3", "three = 33"))
    (folder / "own.py").write_text("own")
    change_the_starter(lab)
    report = update(lab)
    assert report == UpdateReport("01_services", taken=("pricing.ts",), added=("parts/new.py",), merged=("rides.py",))
    assert tree(folder) == {
        **STARTER,
        "rides.py": RIDES.replace("three = 3", "three = 33").replace("one = 1", "one = 10"),
        "pricing.ts": "let a = 2;\n",
        "parts/new.py": "app = 3\n",
        "own.py": "own",
    }
    assert update(lab).changed is False


def test_a_conflict_leaves_the_learners_file_alone(lab: LabSpec) -> None:
    """Where both changed one line, the file stays, both versions stand beside it, and it is said until removed."""
    folder = open_workspace(lab).folder
    mine = RIDES.replace("one = 1", "one = 111")
    (folder / "rides.py").write_text(mine)
    change_the_starter(lab)
    assert update(lab).conflicts == ("rides.py.new",)
    beside = (folder / "rides.py.new").read_text()
    assert (folder / "rides.py").read_text() == mine
    assert "one = 111" in beside and "one = 10\n" in beside and beside.count("three = 3\n") == 1
    later = update(lab)
    assert (later.conflicts, later.waiting, later.kept) == ((), ("rides.py.new",), ("rides.py",))
    (folder / "rides.py.new").unlink()
    assert update(lab).waiting == ()


def test_a_second_conflict_does_not_overwrite_the_first(lab: LabSpec) -> None:
    """rides.py.new, which the learner may be working in, stays; the next conflict goes to rides.py.new-2."""
    folder = open_workspace(lab).folder
    (folder / "rides.py").write_text("mine\n")
    (lab.folder / "rides.py").write_text("second\n")
    update(lab)
    (folder / "rides.py.new").write_text("half done")
    (lab.folder / "rides.py").write_text("third\n")
    report = update(lab)
    assert (report.conflicts, report.waiting) == (("rides.py.new-2",), ("rides.py.new",))
    assert (folder / "rides.py.new").read_text() == "half done"


def test_a_deleted_file_stays_deleted_in_an_update(lab: LabSpec) -> None:
    """An update reports a starter file that the learner deleted and does not bring it back."""
    folder = open_workspace(lab).folder
    (folder / "rides.py").unlink()
    change_the_starter(lab)
    assert update(lab).missing == ("rides.py",)
    assert not (folder / "rides.py").exists()


def test_without_a_base_nothing_is_guessed(lab: LabSpec) -> None:
    """When .base is lost, equal files are left and different ones become a conflict, never a replacement."""
    folder = open_workspace(lab).folder
    shutil.rmtree(work_root() / ".base")
    change_the_starter(lab)
    assert update(lab).conflicts == ("pricing.ts.new", "rides.py.new")
    assert (folder / "rides.py").read_text() == RIDES


@pytest.mark.parametrize("kind", ["link", "folder", "link above", "pipe"])
def test_an_update_does_not_write_through_links(lab: LabSpec, tmp_path: Path, kind: str) -> None:
    """A link, folder or pipe where a starter file belongs is refused before any file is written; reset() clears it."""
    folder = open_workspace(lab).folder
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "city.py").write_text("theirs")
    place = folder / ("parts" if kind == "link above" else "parts/city.py")
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    if kind == "folder":
        (place / "inner").mkdir(parents=True)
        (place / "inner" / "deep.py").write_text("deep")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(outside if kind == "link above" else outside / "city.py")
    change_the_starter(lab)
    with pytest.raises(WorkspaceError, match="is in the way of the starter's parts/"):
        update(lab)
    assert (folder / "pricing.ts").read_text() == STARTER["pricing.ts"]
    kept = reset(lab)
    assert (outside / "city.py").read_text() == "theirs"
    assert (folder / "parts" / "city.py").read_text() == STARTER["parts/city.py"]
    assert os.path.lexists(kept / f"{place.name}.in-the-way")


def test_a_file_saved_during_an_update_is_left(lab: LabSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save between reading and writing is not overwritten: the update stops and says to repeat it."""
    from lab_services.runtime import update as update_module
    from lab_services.runtime import workspace as module

    folder = open_workspace(lab).folder
    change_the_starter(lab)
    real_plan = update_module.plan

    def plan_then_save(*arguments: object) -> object:
        steps = real_plan(*arguments)  # type: ignore[arg-type]
        (folder / "rides.py").write_text("saved just now")
        return steps

    with monkeypatch.context() as patch:
        patch.setattr(module, "plan", plan_then_save)
        with pytest.raises(WorkspaceError, match=r"rides\.py was saved while"):
            update(lab)
    assert (folder / "rides.py").read_text() == "saved just now"
    assert update(lab).conflicts == ("rides.py.new",)


@pytest.mark.usefixtures("no_fsync")
def test_an_update_killed_at_any_moment_can_be_repeated(lab: LabSpec, tmp_path: Path) -> None:
    """kill -9 at each file operation of an update: every file is old or new, and the repeated update completes it."""
    folder = open_workspace(lab).folder
    mine = RIDES.replace("three = 3", "three = 33")
    (folder / "rides.py").write_text(mine)
    shutil.copytree(work_root(), tmp_path / "before")
    change_the_starter(lab)
    both = mine.replace("one = 1", "one = 10")
    allowed = {**{name: {text} for name, text in STARTER.items()}, "rides.py": {mine, both}}
    allowed |= {"pricing.ts": {STARTER["pricing.ts"], "let a = 2;\n"}, "parts/new.py": {"app = 3\n"}}
    step = 1
    while killed_at(step, lambda: update(lab)):
        assert all(text in allowed[name] for name, text in tree(folder).items())
        assert set(STARTER) <= set(tree(folder))
        update(lab)
        assert tree(folder) == {**STARTER, "rides.py": both, "pricing.ts": "let a = 2;\n", "parts/new.py": "app = 3\n"}
        shutil.rmtree(work_root())
        shutil.copytree(tmp_path / "before", work_root())
        step += 1
    assert step > 20


def test_a_reset_loses_nothing(lab: LabSpec) -> None:
    """After a reset the copy is the starter; all that the learner wrote stands beside, one folder per reset."""
    folder = open_workspace(lab).folder
    inode = folder.stat().st_ino
    (folder / "rides.py").write_text("mine")
    (folder / "own.py").write_text("own")
    (folder / ".data" / "rides").mkdir(parents=True)
    (folder / ".data" / "rides" / "rides.db").write_text("rows")
    first = reset(lab)
    assert first == work_root() / "01_services.before-reset-1"
    assert tree(first) == {**STARTER, "rides.py": "mine", "own.py": "own"}
    assert tree(folder) == {**STARTER, ".data/rides/rides.db": "rows"}
    assert folder.stat().st_ino == inode
    (folder / "rides.py").write_text("mine again")
    assert reset(lab).name == "01_services.before-reset-2"
    assert (first / "rides.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["own.py", "rides.py"])
def test_a_file_saved_during_a_reset_is_left(lab: LabSpec, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A file that is saved after it was copied is neither removed nor replaced: no copy has its newest text."""
    folder = open_workspace(lab).folder
    (folder / name).write_text("mine")
    real_rename = os.rename

    def rename_then_save(*places: Path) -> None:
        real_rename(*places)
        (folder / name).write_text("saved just now")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename_then_save)
        with nullcontext() if name == "own.py" else pytest.raises(WorkspaceError, match="was saved while"):
            reset(lab)
    assert tree(folder)[name] == "saved just now"
    assert tree(work_root() / "01_services.before-reset-1")[name] == "mine"
    reset(lab)
    assert tree(folder) == STARTER


def test_a_reset_takes_the_newest_starter_as_its_base(lab: LabSpec) -> None:
    """After a reset to a newer starter there is nothing to update."""
    folder = open_workspace(lab).folder
    change_the_starter(lab)
    reset(lab)
    assert set(tree(folder)) == set(starter_files(lab))
    assert update(lab) == UpdateReport(lab="01_services")
    assert tree(work_root() / ".base" / "01_services") == tree(folder)


@pytest.mark.usefixtures("no_fsync")
def test_a_reset_killed_at_any_moment_loses_nothing(lab: LabSpec, tmp_path: Path) -> None:
    """kill -9 at each file operation of a reset: the learner's text is in the copy or beside it, no file is half."""
    folder = open_workspace(lab).folder
    (folder / "rides.py").write_text("mine")
    (folder / "own.py").write_text("own")
    shutil.copytree(work_root(), tmp_path / "before")
    step = 1
    while killed_at(step, lambda: reset(lab)):
        kept = [tree(path) for path in work_root().glob("*.before-reset-*")]
        now = tree(folder)
        assert all(copy == {**STARTER, "rides.py": "mine", "own.py": "own"} for copy in kept)
        assert kept or (now["rides.py"], now["own.py"]) == ("mine", "own")
        assert now["rides.py"] in (RIDES, "mine") and set(STARTER) <= set(now)
        reset(lab)
        assert tree(folder) == STARTER
        shutil.rmtree(work_root())
        shutil.copytree(tmp_path / "before", work_root())
        step += 1
    assert step > 20


def test_a_snapshot_is_the_code_alone(lab: LabSpec, tmp_path: Path) -> None:
    """A snapshot holds the learner's code as it is now, without data, logs, caches, links to nothing and checks."""
    folder = open_workspace(lab).folder
    (folder / "rides.py").write_text("mine")
    (folder / "test_own.py").write_text("def test_mine(): ...")
    (folder / "gone.py").symlink_to(tmp_path / "nothing")
    for name in (".data/rides/rides.db", ".logs/rides.log", "__pycache__/rides.pyc"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("x")
    os.mkfifo(folder / "pipe")
    assert tree(snapshot(lab, tmp_path / "judged")) == {**STARTER, "rides.py": "mine"}


def test_a_snapshot_of_another_folder_leaves_out_what_is_not_there(lab: LabSpec, tmp_path: Path) -> None:
    """The folder judged may be any folder; a file that it lacks is not filled in from the starter."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "rides.py").write_text("theirs")
    (tmp_path / "judged").mkdir()
    assert tree(snapshot(lab, tmp_path / "judged", tmp_path / "theirs")) == {"rides.py": "theirs"}
    assert not work_root().exists()
    with pytest.raises(WorkspaceError, match="no such workspace"):
        snapshot(lab, tmp_path / "other", tmp_path / "nowhere")


@pytest.mark.parametrize("target", ["work/01_services", "work/01_services/.copy", "full", "full/file"])
def test_a_copy_goes_only_to_a_folder_of_its_own(lab: LabSpec, tmp_path: Path, target: str) -> None:
    """A target inside the workspace, or with something in it, is refused and left as it was."""
    open_workspace(lab)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(WorkspaceError, match="a folder of its own"):
        snapshot(lab, tmp_path / target)
    assert tree(tmp_path / "full") == {"file": "x"}
    assert tree(work_root() / "01_services") == STARTER


def test_a_solution_lies_over_its_starter(lab: LabSpec, tmp_path: Path) -> None:
    """The solution's files replace the starter's of the same name, the others come from the starter."""
    solution = tmp_path / "course" / "solutions" / "01_services"
    with pytest.raises(WorkspaceError, match="has no solution"):
        lay_solution(lab, tmp_path / "solved")
    (solution / "parts").mkdir(parents=True)
    (solution / "parts" / "city.py").write_text("app = 2\n")
    assert tree(lay_solution(lab, tmp_path / "solved")) == {**STARTER, "parts/city.py": "app = 2\n"}


def test_a_report_has_a_plain_and_an_html_form() -> None:
    """Both forms name the same files and say the same of each; HTML is escaped and its headers have a scope."""
    report = UpdateReport("01_services", taken=("rides.py",), conflicts=("a<b>.py.new",))
    html = report._repr_html_()
    assert repr(report).splitlines()[0] == "01_services: updated, except for changes that meet yours"
    assert "rides.py     now the new version" in repr(report) and "a<b>.py.new  yours, unchanged" in repr(report)
    assert "a&lt;b&gt;.py.new" in html and '<th scope="row">' in html and "now the new version" in html
    assert UpdateReport("x")._repr_html_() == "<p>x: up to date</p>"
