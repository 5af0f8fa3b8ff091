"""Prometheus and Alertmanager, started by hand: on loopback, with the lab's settings, rules and addresses."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from lab_services.errors import MissingProgram, PrometheusRefuses
from lab_services.runtime.ports import Port
from lab_services.servers import Called, Server, Wishes, alertmanager, find_server, prometheus
from lab_services.telemetry import programs
from tests.servers.test_servers import wait_ready

PAGER = Called("pager", "pager", "http://127.0.0.1:4000")
MANAGER = Called("alertmanager", "alertmanager", "http://127.0.0.1:5000")
CONFIG = """
route: {receiver: pager, group_wait: $GROUP_WAIT}
receivers: [{name: pager, webhook_configs: [{url: "${PAGER_URL}/alerts"}]}]
templates: []  # {{ $labels.service }} costs $5 and stays as it is
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[Server, Wishes], tuple[str, psutil.Process]]]:
    """Start a server at a port that is reserved as the lab does it; return its address when it is ready."""
    with ExitStack() as ending:

        def begin(server: Server, wishes: Wishes) -> tuple[str, psutil.Process]:
            port = Port(for_server=True)
            ending.callback(port.release)
            assert server.fitted is not None and server.given_port
            argv, extra = server.fitted(server.find(), tmp_path, port.number, wishes)
            log = ending.enter_context((tmp_path / "log.txt").open("ab"))
            process = subprocess.Popen(argv, env={**os.environ, **extra}, stdout=log, stderr=log)
            ending.callback(process.wait, 10)
            ending.callback(process.kill)
            return wait_ready(server, tmp_path, process, port.number), psutil.Process(process.pid)

        yield begin


@pytest.mark.parametrize("kind", ["prometheus", "alertmanager"])
def test_it_listens_on_loopback_alone(
    kind: str,
    started: Callable[[Server, Wishes], tuple[str, psutil.Process]],
    needs_program: Callable[[str], str],
) -> None:
    """One port on 127.0.0.1 and no other, not even one for others of its kind."""
    needs_program(kind)
    url, process = started(find_server(kind), Wishes())
    listening = [c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [f"http://{ip}:{port}" for ip, port in listening] == [url]


def test_alertmanager_takes_our_configuration(
    started: Callable[[Server, Wishes], tuple[str, psutil.Process]], needs_program: Callable[[str], str]
) -> None:
    """What is written for the pager is what Alertmanager has loaded, with the settings of lab.toml."""
    needs_program("alertmanager")
    wishes = Wishes({"GROUP_INTERVAL": "3s"}, called=(PAGER,))
    url, _ = started(alertmanager.SERVER, wishes)
    loaded = httpx.get(f"{url}/api/v2/status").json()["config"]["original"]
    assert "http://127.0.0.1:4000/alerts" in loaded and "group_interval: 3s" in loaded and "group_wait: 0s" in loaded


def test_placeholders_are_filled_in(tmp_path: Path) -> None:
    """$PAGER_URL and a setting of `env` are replaced; what belongs to Alertmanager's own templates is not."""
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG)
    text = alertmanager.filled_in(config, Wishes({"GROUP_WAIT": "0s"}, called=(PAGER,)))
    assert 'url: "http://127.0.0.1:4000/alerts"' in text and "group_wait: 0s" in text
    assert "{{ $labels.service }} costs $5" in text


def test_a_placeholder_that_nobody_fills_is_refused(tmp_path: Path) -> None:
    """A misspelt name is named with its line and the names that there are."""
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG.replace("PAGER_URL", "PAGR_URL"))
    with pytest.raises(PrometheusRefuses, match=r"\$PAGR_URL") as caught:
        alertmanager.filled_in(config, Wishes({"GROUP_WAIT": "0s"}, called=(PAGER,)))
    assert caught.value.where == "alertmanager.yml, line 3"
    assert caught.value.evidence == "it is told: $GROUP_WAIT, $PAGER_URL"


def test_prometheus_is_told_of_alertmanagers_only(tmp_path: Path) -> None:
    """Of the services that it needs or calls, alerts go to those that are an Alertmanager."""
    told = prometheus.configuration(tmp_path, Wishes({"SCRAPE_INTERVAL": "2s"}, called=(PAGER, MANAGER)))
    assert json.dumps(told["alerting"]).count("127.0.0.1:5000") == 1 and "4000" not in json.dumps(told)
    assert told["global"]["scrape_interval"] == told["global"]["evaluation_interval"] == "2s"


def test_prometheus_is_not_started_with_rules_that_it_would_refuse(
    tmp_path: Path, needs_program: Callable[[str], str]
) -> None:
    """Broken rules are told before a process is there, with promtool's words."""
    needs_program("promtool")
    rules = tmp_path / "alert_rules.yml"
    rules.write_text("groups: [\n")
    with pytest.raises(PrometheusRefuses, match="does not take the rules"):
        prometheus.fitted(Path("prometheus"), tmp_path, 1, Wishes(config=rules))
    assert not (tmp_path / "prometheus.yml").exists()


@pytest.mark.parametrize(
    ("platform", "conda", "says"),
    [
        ("linux", "", "install --no-install-recommends prometheus prometheus-alertmanager"),
        ("darwin", "", "brew install prometheus\nAlertmanager: put the program of https://prometheus.io/download"),
        ("linux", "/opt/conda", "conda install -c conda-forge prometheus\nAlertmanager: put"),
    ],
)
def test_a_missing_program_is_named_with_what_installs_all_three(
    platform: str, conda: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One command for the system at hand; where a package lacks Alertmanager, the error says where it is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CONDA_PREFIX", conda)
    monkeypatch.setattr(programs.sys, "platform", platform)
    for kind in ("prometheus", "alertmanager"):
        with pytest.raises(MissingProgram, match=kind) as caught:
            find_server(kind).find()
        assert says in caught.value.next_step
    with pytest.raises(MissingProgram, match="promtool"):
        programs.find(programs.PROMTOOL)
