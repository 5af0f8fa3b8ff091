"""`metrics` and the servers of chapter 07 in a lab.toml: what is taken, and what is refused with what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab_services.errors import SpecError
from lab_services.runtime.spec import load_spec
from lab_services.runtime.spec_types import ServiceSpec

HEAD = 'title = "Watched"\nminutes = 10\n'


def read(folder: Path, text: str) -> dict[str, ServiceSpec]:
    """Read a lab whose services are these."""
    lab = folder / "labs" / "90_watched"
    lab.mkdir(parents=True)
    for name in ("rides.py", "pricing.ts", "rules.yml"):
        (lab / name).write_text("")
    (lab / "lab.toml").write_text(HEAD + text)
    return dict(load_spec("90_watched", folder).services)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("true", "METRICS_PORT"), ("false", ""), ('"/metrics"', "/metrics"), ('"/a/b.c"', "/a/b.c")],
)
def test_metrics_are_at_a_port_of_their_own_or_at_a_path(given: str, kept: str, tmp_path: Path) -> None:
    """true asks for a port, a text is a path, false is the same as nothing."""
    assert read(tmp_path, f'[services.rides]\nrun = "rides:app"\nmetrics = {given}\n')["rides"].metrics == kept


@pytest.mark.parametrize(
    ("service", "what", "write"),
    [
        ('run = "rides:app"\nmetrics = "metrics"', "is no path", 'metrics = "/metrics"'),
        ('run = "rides:app"\nmetrics = "/a?b"', "is no path", "metrics = true"),
        ('run = "rides:app"\nmetrics = 9', "is a whole number, not text", "write text"),
        ('run = "rides:serve"\nspeaks = "grpc"\nmetrics = "/metrics"', "it speaks grpc, not HTTP", "metrics = true"),
        ('run = "pricing.ts"\nmetrics = true', "is no Python service", 'metrics = "/metrics"'),
        ('server = "nats"\nmetrics = "/metrics"', "cannot scrape a nats server", "remove 'metrics'"),
        ('server = "prometheus"\nmetrics = true', "is no Python service", 'metrics = "/metrics"'),
        ('run = "rides:app"\nenv = { METRICS_PORT = "1" }', "cannot hold 'METRICS_PORT'", "the runtime sets it"),
        ('server = "prometheus"\nenv = { SCRAPE_INTERVAL = "0s" }', "is '0s'", 'SCRAPE_INTERVAL = "500ms"'),
        ('server = "prometheus"\nenv = { SCRAPE = "1s" }', "obeys no 'SCRAPE'", "remove 'SCRAPE'"),
        ('server = "prometheus"\nconfig = "rules.yml"\nenv = { SCRAPE = "1s" }', "obeys no 'SCRAPE'", "remove"),
        ('server = "alertmanager"\nenv = { GROUP_INTERVAL = "0s" }', "is '0s'", 'GROUP_INTERVAL = "500ms"'),
        ('server = "prometheus"\nreplicas = 2', "cannot have 2 replicas", "remove 'replicas'"),
    ],
)
def test_what_cannot_be_is_refused(service: str, what: str, write: str, tmp_path: Path) -> None:
    """The refusal says what is wrong, and what to write in its place."""
    with pytest.raises(SpecError) as caught:
        read(tmp_path, f"[services.rides]\n{service}\n")
    assert what in caught.value.what and write in caught.value.next_step, caught.value


def test_beside_a_sidecar_figures_need_a_port_of_their_own(tmp_path: Path) -> None:
    """The application listens on a socket file there, where Prometheus cannot ask for a path."""
    plane = '[services.plane]\nrun = "rides:app"\n'
    service = '[services.rides]\nrun = "rides:app"\nsidecar = "plane"\nmetrics = '
    with pytest.raises(SpecError, match="socket file") as caught:
        read(tmp_path / "one", f'{plane}{service}"/metrics"\n')
    assert "metrics = true" in caught.value.next_step
    assert read(tmp_path / "two", f"{plane}{service}true\n")["rides"].metrics == "METRICS_PORT"


def test_servers_take_their_settings(tmp_path: Path) -> None:
    """Durations, a rules file, and in the configuration of an Alertmanager whatever stands in `env`."""
    found = read(
        tmp_path,
        '[services.prometheus]\nserver = "prometheus"\nconfig = "rules.yml"\nenv = { SCRAPE_INTERVAL = "250ms" }\n'
        '[services.alerts]\nserver = "alertmanager"\nenv = { GROUP_WAIT = "0s", REPEAT_INTERVAL = "1h" }\n'
        '[services.more]\nserver = "alertmanager"\nconfig = "rules.yml"\nenv = { TEAM = "bikes" }\n',
    )
    assert found["prometheus"].config == "rules.yml" and found["more"].env == {"TEAM": "bikes"}
