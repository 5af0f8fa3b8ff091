"""lab.toml -> LabSpec: what it reads, and that each slip is refused by name in four parts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from lab_services.errors import LabError, MachineError, SpecError, UnknownName
from lab_services.runtime import spec_rules
from lab_services.runtime.spec import course_root, lab_names, load_spec, start_order

GOOD = """
title = "A city in two parts"
minutes = 75
laws = true
[services.rides]
run = "rides:app"
needs = ["stations", "broker"]
calls = ["notices"]
replicas = 2
launch = "cold"
env = { TARIFF = "summer" }
[services.stations]
use = "stations"
[services.prices]
use = "pricing_v2"
[services.notices]
run = "notices.ts"
calls = ["rides"]
[services.broker]
server = "nats"
[shapes.monolith.services.city]
run = "parts.city:app"
[[tasks]]
id = "1.2"
title = "Own data"
shape = "monolith"
files = ["rides.py", "parts/city.py"]
checks = ["test_alone", "test_inside_a_class"]
red = ["test_alone"]
hints = ["look", "think"]
[tasks.hints_for]
test_alone = ["look at rides.py"]
[[tasks]]
id = "1.3"
title = "Replicas"
checks = ["test_later"]
"""
CHECKS = (
    "def test_alone(): ...\nclass TestGroup:\n    def test_inside_a_class(self): ...\nasync def test_later(): ...\n"
)
FILES = {
    "lab.toml": GOOD,
    "rides.py": "app = object()\n",
    "notices.ts": "Deno.serve(() => new Response());\n",
    "parts/city.py": "app = object()\n",
    "test_checks.py": CHECKS,
}
Course = Callable[..., Path]


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """Write a course folder whose only lab is 01_services, with some files of it replaced (None: left out)."""
    for folder, names in (("bikeshare", ("stations.py", "pricing_v2.ts")), ("servers", ("nats.py", "_ports.py"))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text("")
    monkeypatch.setattr(spec_rules, "BIKESHARE", tmp_path / "bikeshare")
    monkeypatch.setattr(spec_rules, "SERVERS", tmp_path / "servers")

    def write(**changed: str | bytes | None) -> Path:
        for name, content in {**FILES, **changed}.items():
            path = tmp_path / "course" / "labs" / "01_services" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / "course"

    return write


def refusal(root: Path, kind: type[LabError] = SpecError) -> LabError:
    """Return the error that the lab is refused with, after asserting its four parts."""
    with pytest.raises(kind) as caught:
        load_spec("01_services", root)
    assert caught.value.what and caught.value.where and caught.value.next_step
    assert str(caught.value).count("\n") >= 2
    return caught.value


def test_a_lab_is_read_into_facts(course: Course) -> None:
    """Every key of a lab.toml arrives in its dataclass."""
    lab = load_spec("01_services", course())
    rides, task = lab.services["rides"], lab.tasks["1.2"]
    assert (lab.name, lab.title, lab.minutes, lab.laws) == ("01_services", "A city in two parts", 75, True)
    assert lab.folder.name == "01_services" and lab.folder.is_absolute()
    assert (rides.kind, rides.target, rides.needs, rides.calls) == (
        "run",
        "rides:app",
        ("stations", "broker"),
        ("notices",),
    )
    assert (rides.replicas, rides.launch, dict(rides.env)) == (2, "cold", {"TARIFF": "summer"})
    assert [service.kind for service in lab.services.values()] == ["run", "use", "use", "run", "server"]
    assert lab.services["stations"].launch == "warm" and lab.services["stations"].replicas == 1
    assert (task.shape, task.files, task.red) == ("monolith", ("rides.py", "parts/city.py"), ("test_alone",))
    assert (task.checks, task.hints) == (("test_alone", "test_inside_a_class"), ("look", "think"))
    assert dict(task.hints_for) == {"test_alone": ("look at rides.py",)}
    assert lab.tasks["1.3"].shape is None and lab.tasks["1.3"].red == ()


def test_a_lab_is_frozen_all_the_way(course: Course) -> None:
    """Neither a field nor an entry of a mapping of a lab can be changed."""
    lab = load_spec("01", course())
    for mapping in (lab.services, lab.shapes, lab.shapes["monolith"], lab.tasks, lab.services["rides"].env):
        with pytest.raises(TypeError):
            mapping["new"] = "x"  # type: ignore[index]
    with pytest.raises(TypeError):
        lab.tasks["1.2"].hints_for["test_alone"] = ()  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        lab.services["rides"].replicas = 3  # type: ignore[misc]


def test_a_lab_is_found_by_its_unique_beginning(course: Course) -> None:
    """ "01" names 01_services as long as no other lab begins so."""
    root = course()
    assert load_spec("01", root).name == load_spec("01_s", root).name == "01_services"
    (root / "labs" / "01_second").mkdir()
    (root / "labs" / "01_second" / "lab.toml").write_text("")
    with pytest.raises(UnknownName, match="beginning of 2 labs") as caught:
        load_spec("01", root)
    assert "01_second, 01_services" in caught.value.evidence
    assert load_spec("01_services", root).name == "01_services"


@pytest.mark.parametrize(
    "name", ["02", "rest", "", ".", "..", "../01_services", "/etc", "01_services/", "a\0b", "x" * 999]
)
def test_an_unknown_lab_is_refused_with_the_names_there_are(course: Course, name: str) -> None:
    """A name that no lab has, or that could leave the folder labs/, is answered with the labs there are."""
    with pytest.raises(UnknownName) as caught:
        load_spec(name, course())
    assert caught.value.evidence == "labs there are: 01_services"
    assert caught.value.next_step == 'type open_lab("01_services")'


def test_a_lab_folder_without_lab_toml_is_named(course: Course) -> None:
    """A folder of labs/ that has lost its lab.toml is not called unknown."""
    root = course(**{"lab.toml": None})
    assert "no lab.toml" in refusal(root).what
    assert lab_names(root) == ()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("minutes = 75", "minuets = 75", "'minuets' that no lab.toml knows; did you mean 'minutes'?"),
        ("replicas = 2", "replica = 2", "'replica' that no lab.toml knows; did you mean 'replicas'?"),
        ('id = "1.2"', 'id = "1.2"\nhint = ["x"]', "'hint' that no lab.toml knows; did you mean 'hints'?"),
        ("[shapes.monolith.services.city]", '[shapes.monolith]\nhue = ""\n[shapes.monolith.services.city]', "'hue'"),
        ('title = "A city in two parts"', "", "no 'title'"),
        ('title = "A city in two parts"', 'title = ""', "'title' of lab.toml is empty"),
        ('title = "A city in two parts"', "title = 3", "'title' of lab.toml is a whole number, not text"),
        ("minutes = 75", 'minutes = "75"', "'minutes' of lab.toml is text in quotes, not a whole number"),
        ("minutes = 75", "minutes = true", "is true or false, not a whole number"),
        ("minutes = 75", "minutes = 0", "is 0, which is out of range"),
        ("laws = true", 'laws = "yes"', "not true or false"),
        ('calls = ["notices"]', 'calls = "notices"', "'calls' of services.rides is text in quotes, not a list"),
        ('calls = ["notices"]', "calls = [1]", "'calls[0]'"),
        ('calls = ["notices"]', 'calls = ["notices", "notices"]', "'notices' twice"),
        ('calls = ["notices"]', 'calls = ["stations"]', "'stations' in needs and in calls"),
        ('calls = ["notices"]', 'calls = ["notice"]', "calls 'notice', which is no service here; did you mean"),
        ('"stations", "broker"]', '"station", "broker"]', "needs 'station', which is no service here; did you mean"),
        ("replicas = 2", "replicas = 0", "is 0, which is out of range"),
        ("replicas = 2", "replicas = -1", "out of range"),
        ("replicas = 2", "replicas = 1000", "out of range"),
        ("replicas = 2", "replicas = 2.0", "not a whole number"),
        ("replicas = 2", "replicas = true", "not a whole number"),
        ('server = "nats"', 'server = "nats"\nreplicas = 2', "the server 'broker' cannot have 2 replicas"),
        ('server = "nats"', 'server = "nats"\nreplicas = 3\nconfig = "rides.py"', "no 'config' with 3 replicas"),
        ('server = "nats"', 'server = "nats"\nenv = { SYNC_INTERVAL = "2m" }', "'SYNC_INTERVAL' of the server 'br"),
        ('server = "nats"', 'server = "nats"\nenv = { SYNC_INTERVL = "always" }', "in 'env'; did you mean"),
        ('launch = "cold"', 'launch = "hot"', "'launch' of services.rides is 'hot'"),
        ('launch = "cold"', 'speaks = "grcp"', "'speaks' of services.rides is 'grcp'; did you mean 'grpc'?"),
        ('launch = "cold"', "speaks = 2", "'speaks' of services.rides is a whole number, not text"),
        ('server = "nats"', 'server = "nats"\nspeaks = "grpc"', "the server 'broker' speaks what it speaks"),
        ('server = "nats"', 'server = "nats"\nconfig = "brok.conf"', "brok.conf, which is not in labs/01_services"),
        ('server = "nats"', 'server = "nats"\nconfig = "../lab.toml"', "not a plain file name"),
        ('server = "nats"', 'server = "nats"\nconfig = "lab.toml"', "lab.toml, which learners do not get"),
        ('use = "stations"', 'use = "stations"\nconfig = "rides.py"', "'stations' reads no 'config'"),
        ('use = "stations"', 'use = "pricing_v2"\nspeaks = "grpc"', "'stations' cannot speak gRPC"),
        ('run = "notices.ts"', 'run = "notices.ts"\nspeaks = "grpc"', "'notices' cannot speak gRPC"),
        ('run = "notices.ts"', 'run = "notices.ts"\nspeaks = "tcp"', "'notices' cannot speak TCP"),
        ('TARIFF = "summer"', "TARIFF = 3", "'TARIFF' of services.rides.env is a whole number, not text"),
        ('TARIFF = "summer"', 'DATA_DIR = "/"', "cannot hold 'DATA_DIR'"),
        ('TARIFF = "summer"', 'tariff = "x"', "cannot hold 'tariff'"),
        ('TARIFF = "summer"', 'TARIFF = "a\\u0000b"', "zero byte"),
        ('use = "stations"', "", "'stations' has none of run, use, server; it takes exactly one"),
        ('use = "stations"', 'use = "stations"\nrun = "rides:app"', "'stations' has run and use; it takes exactly one"),
        ('use = "stations"', 'use = "stations"\nserver = "nats"\nrun = "rides:app"', "run and use and server"),
        ('use = "stations"', 'use = "statons"', "no such finished service; did you mean 'stations'?"),
        ('use = "stations"', 'use = "../stations"', "no such finished service"),
        ('server = "nats"', 'server = "natz"', "no such kind of server; did you mean 'nats'?"),
        ('server = "nats"', 'server = "_ports"', "no such kind of server"),
        ('run = "rides:app"', 'run = "rides"', "'run' of services.rides is 'rides'"),
        ('run = "rides:app"', 'run = "ride:app"', "ride.py, which is not in labs/01_services; did you mean"),
        ('run = "rides:app"', 'run = "../rides:app"', "'../rides:app'"),
        ('run = "rides:app"', 'run = "test_checks:app"', "test_checks.py, which learners do not get"),
        ('run = "notices.ts"', 'run = "notes.ts"', "names notes.ts, which is not in labs/01_services"),
        ('run = "notices.ts"', 'run = "../notices.ts"', "not a plain file name"),
        ('run = "notices.ts"', 'run = "/notices.ts"', "not a plain file name"),
        ("[services.prices]", '[services."../prices"]', "a service cannot be called '../prices'"),
        ("[services.prices]", "[services.Prices]", "a service cannot be called 'Prices'"),
        ("[shapes.monolith.services.city]", '[shapes."a/b".services.city]', "a shape cannot be called 'a/b'"),
        ('[shapes.monolith.services.city]\nrun = "parts.city:app"', "[shapes.monolith]", "has no service"),
        ('use = "stations"', 'use = "stations"\nneeds = ["rides"]', "circle: rides -> stations -> rides"),
        ('use = "stations"', 'use = "stations"\nneeds = ["stations"]', "circle: stations -> stations"),
        ('shape = "monolith"', 'shape = "monolit"', "names the shape 'monolit'; did you mean 'monolith'?"),
        ('id = "1.3"', 'id = "1.2"', "two tasks have the id '1.2'"),
        ('id = "1.3"', "id = 1.3", "'id' of tasks number 2 is float, not text in quotes"),
        ('id = "1.3"', 'id = "../1"', "cannot have the id '../1'"),
        ('files = ["rides.py", ', 'files = ["ride.py", ', "names ride.py, which is not in"),
        ('files = ["rides.py", ', 'files = ["../rides.py", ', "'../rides.py', which is not a plain file name"),
        ('files = ["rides.py", ', 'files = ["parts/../rides.py", ', "'parts/../rides.py', which is not a plain"),
        ('files = ["rides.py", ', 'files = ["/etc/passwd", ', "'/etc/passwd', which is not a plain file name"),
        ('files = ["rides.py", ', 'files = ["lab.toml", ', "lab.toml, which learners do not get"),
        ('red = ["test_alone"]', 'red = ["test_alne"]', "'test_alne' in red, which is not in its checks; did you mean"),
        ('red = ["test_alone"]', 'red = ["test_later"]', "'test_later' in red"),
        ('checks = ["test_later"]', 'checks = ["test_latter"]', "no test_*.py of the lab has; did you mean"),
        ('checks = ["test_later"]', "", "task 1.3 has no checks"),
        ('test_alone = ["look at rides.py"]', 'test_lone = ["x"]', "'test_lone' that no lab.toml knows; did you mean"),
    ],
)  # fmt: skip
def test_a_slip_is_refused_by_name(course: Course, old: str, new: str, says: str) -> None:
    """One wrong line of a lab.toml is answered with the key or value that is wrong and what to write."""
    assert GOOD.count(old) == 1 or old.startswith("use")
    error = refusal(course(**{"lab.toml": GOOD.replace(old, new, 1)}))
    assert says in error.what
    assert error.where.startswith("labs/01_services/lab.toml")


def test_a_cycle_is_drawn_in_the_direction_of_the_needs(course: Course) -> None:
    """Three services in a circle are drawn a -> b -> c -> a, each arrow a need, from the first one on."""
    ring = "".join(f'[services.{a}]\nuse = "stations"\nneeds = ["{b}"]\n' for a, b in ("ab", "bc", "ca", "da"))
    error = refusal(course(**{"lab.toml": 'title = "x"\nminutes = 1\n' + ring}))
    assert error.what.endswith("in a circle: a -> b -> c -> a")
    assert "calls" in error.next_step


def test_a_service_speaks_http_unless_told_otherwise(course: Course) -> None:
    """`speaks` is http, grpc or tcp, of the learner's services and of finished ones."""
    text = GOOD.replace('launch = "cold"', 'speaks = "tcp"').replace(
        'use = "stations"', 'use = "stations"\nspeaks = "grpc"', 1
    )
    services = load_spec("01", course(**{"lab.toml": text})).services
    assert {name: service.speaks for name, service in services.items() if service.speaks != "http"} == {
        "rides": "tcp",
        "stations": "grpc",
    }


def test_calls_may_go_in_a_circle(course: Course) -> None:
    """Two services that call each other are a valid lab, because calls do not order the start."""
    lab = load_spec("01", course())
    assert "rides" in lab.services["notices"].calls and "notices" in lab.services["rides"].calls


@pytest.mark.parametrize(
    ("content", "says", "evidence"),
    [
        ('title = "x"\nminutes 75\n', "at line 2, column 9", "line 2: minutes 75"),
        ('title = "x', "is not TOML", ""),
        ('title = "x"\ntitle = "y"\n', "line 2", "line 2: title"),
        ("\ufefftitle 3", "line 1", "line 1: title 3"),
        (b'title = "\xff"', "is not UTF-8", "0xff"),
        ("x = " + "[" * 50_000, "nests too deep", ""),
        ("x = " + "1" * 5_000, "is not TOML", ""),
        ("# x\n" * 250_001, "larger than 1 MB", ""),
        ("", "has no service", ""),
    ],
    ids=["line", "end", "twice", "bom", "utf8", "deep", "huge number", "large", "empty"],
)
def test_broken_toml_is_located(course: Course, content: str | bytes, says: str, evidence: str) -> None:
    """A file that is not TOML is refused with its line and column, and the line itself."""
    error = refusal(course(**{"lab.toml": content}))
    assert says in error.what
    assert evidence in error.evidence


def test_an_editor_on_windows_may_write_the_file(course: Course) -> None:
    """A byte order mark and CRLF line ends change nothing."""
    root = course(**{"lab.toml": b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()})
    assert load_spec("01", root).title == "A city in two parts"


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ("def test_alone(:\n", "test_checks.py is not Python"),
        (CHECKS + "def test_alone(): ...\n", "two checks are called test_alone"),
        (None, "lists the check 'test_alone', which no test_*.py"),
        ("import nothing_of_the_kind\n" + CHECKS, ""),
    ],
)
def test_checks_are_looked_up_without_importing_them(course: Course, checks: str | None, says: str) -> None:
    """A listed check must be a function of the lab's test files, which are parsed, never run."""
    root = course(**{"test_checks.py": checks})
    if says:
        assert says in refusal(root).what
    else:
        assert load_spec("01", root).tasks["1.2"].checks[0] == "test_alone"


def test_one_name_in_two_check_files_is_refused(course: Course) -> None:
    """A check that two files define is ambiguous: one of them would never be judged."""
    error = refusal(course(**{"test_more.py": "\ndef test_later(): ...\n"}))
    assert error.evidence == "test_checks.py line 4 and test_more.py line 2"


def test_a_system_is_chosen_by_its_shape(course: Course) -> None:
    """None is the lab's own system, a name is that shape, another name is refused with those there are."""
    lab = load_spec("01", course())
    assert lab.system(None) is lab.services
    assert list(lab.system("monolith")) == ["city"]
    with pytest.raises(UnknownName, match="no shape 'soa'") as caught:
        lab.system("soa")
    assert caught.value.evidence == "shapes there are: monolith"


def test_a_lab_of_shapes_alone_asks_for_one(course: Course) -> None:
    """Where a lab has no [services], a task must name its shape, and so must whoever starts it."""
    shapes = 'title = "x"\nminutes = 1\n[shapes.soa.services.bus]\nuse = "stations"\n'
    with pytest.raises(UnknownName, match="no system without a shape"):
        load_spec("01", course(**{"lab.toml": shapes})).system(None)
    error = refusal(course(**{"lab.toml": shapes + '[[tasks]]\nid = "1"\ntitle = "t"\nchecks = ["test_later"]\n'}))
    assert "names no shape, and the lab has no [services]" in error.what


def test_the_start_order_is_in_waves(course: Course) -> None:
    """All that a service needs stands in an earlier wave; what is independent starts together."""
    lab = load_spec("01", course())
    assert start_order(lab.services) == (("stations", "prices", "notices", "broker"), ("rides",))
    without = {name: service for name, service in lab.services.items() if name != "stations"}
    assert start_order(without) == (("prices", "notices", "broker"), ("rides",))
    chain = {
        n: replace(lab.services["rides"], name=n, needs=tuple(needs))
        for n, needs in (("c", "b"), ("b", "a"), ("a", ""))
    }
    assert start_order(chain) == (("a",), ("b",), ("c",))
    assert start_order({"rides": lab.services["rides"]}) == (("rides",),)
    assert start_order({}) == ()


def test_the_course_folder_can_be_named(course: Course, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """COURSE_ROOT names the course folder; one without labs/ is refused."""
    monkeypatch.setenv("COURSE_ROOT", str(course()))
    assert load_spec("01").folder.is_relative_to(course_root())
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path))
    with pytest.raises(MachineError, match="not to be found"):
        course_root()


def test_the_import_is_light() -> None:
    """Reading labs imports nothing from outside the standard library and the course."""
    code = (
        "import sys; before = set(sys.modules); import lab_services.runtime.spec, lab_services.runtime.workspace;"
        "print(*{n.split('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert printed.stdout.split() == ["lab_services"]


def test_a_lab_with_grpc_services_is_opened_without_grpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a lab waits for no gRPC library: the processes that serve and call load it themselves."""
    monkeypatch.setenv("COURSE_WORK", str(tmp_path))
    code = "import sys; from lab_services import open_lab; open_lab('03'); print({'grpc', 'google'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert printed.stdout.strip() == "set()"
