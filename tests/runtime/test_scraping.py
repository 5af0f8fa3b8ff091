"""A running city that is watched: figures of each replica, rules that are saved, alerts that reach the pager."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from lab_services.errors import MissingProgram, PrometheusRefuses
from lab_services.lab import Lab
from lab_services.runtime.scraping import TARGETS_FILE
from lab_services.telemetry.budget import read_budget
from lab_services.telemetry.queries import Prometheus
from lab_services.telemetry.red import Metrics, read_red
from tests.runtime.conftest import Maker, service, until, write
from tests.runtime.watched_city import RULES, RULES_FILE, SECONDS, ask, call_rides, pages, up, watched_city

BOTH = {"rides-1": 1.0, "rides-2": 1.0, "stations-1": 1.0}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory, needs_program: Callable[[str], str]) -> Iterator[Lab]:
    """The city, with Prometheus having looked at its targets."""
    for program in ("prometheus", "promtool", "alertmanager"):
        needs_program(program)
    with watched_city(tmp_path_factory.mktemp("watched")) as lab:
        until(lambda: up(lab) == BOTH, 20)
        yield lab


def names(lab: Lab) -> list[str]:
    """Return the names of the rules that are loaded."""
    with ask(lab) as prometheus:
        return [rule.name for rule in prometheus.rules()]


def pages_of(lab: Lab, alert: str) -> list[str]:
    """Return with which status the pager has rung for an alert."""
    return [page["status"] for page in pages(lab) if page["labels"]["alertname"] == alert]


def test_figures_arrive_replica_by_replica(city: Lab) -> None:
    """A count of rides stands for the replica that has counted, though callers reach both at one address."""
    for _ in range(20):
        call_rides(city, "200")
    query = 'http_requests_total{service="rides", status="200"}'
    with ask(city) as prometheus:
        until(lambda: prometheus.value(f"sum({query})") == 20, SECONDS)
        found = {sample.labels["replica"]: sample.value for sample in prometheus.instant(query)}
        exemplars = prometheus.exemplars('http_request_duration_seconds_bucket{service="rides"}', 0, time.time())
    assert found.keys() == {"1", "2"} and all(found.values())
    assert exemplars and dict(exemplars[0].labels) == {"trace_id": "abc"}


def test_answers_of_prometheus_are_facts(city: Lab) -> None:
    """Targets, ranges, single values; what is no PromQL is refused in Prometheus's own words."""
    with ask(city) as prometheus:
        found = {target.labels["instance"]: (target.health, target.url) for target in prometheus.targets()}
        assert found["stations-1"] == ("up", f"{city['stations'].url}/figures")
        assert prometheus.value("1 + 1") == 2 and prometheus.value("none_of_this") is None
        now = time.time()
        [series] = prometheus.range('up{instance="rides-1"}', now - 2, now, 0.5)
        assert series.labels["replica"] == "1" and series.points[-1][1] == 1
        with pytest.raises(PrometheusRefuses) as caught:
            prometheus.instant("sum(rate(x[5m])")
        assert "bad_data" in caught.value.evidence and "unclosed left parenthesis" in caught.value.evidence
        with pytest.raises(PrometheusRefuses, match="a matrix, no value"):
            prometheus.instant("up[5s]")
        with pytest.raises(PrometheusRefuses, match="3 series, not one"):
            prometheus.value("up")


def test_red_and_budget_are_read_from_the_city(city: Lab) -> None:
    """Rate, duration and budget of rides come from the counters of both replicas; a service without calls has none."""
    call_rides(city, "200", 50)
    end = time.time() + 1
    with ask(city) as prometheus:
        until(lambda: (prometheus.value('sum(rate(http_requests_total{service="rides"}[5s]))') or 0) > 1, SECONDS)
        names = Metrics("http_requests_total", seconds="http_request_duration_seconds")
        rides, other = read_red(prometheus, ["rides", 'no"one'], end - 10, end, step=0.5, metrics=names)
        count = 'http_requests_total{service="rides"}'
        budget = read_budget(prometheus, 0.9, events=count, bad=count[:-1] + ', status="500"}', windows=("5s", "1m"))
    assert rides.calls_per_second > 0 and rides.failed_share == 0 and other.failed_share is None
    assert 0 < (rides.seconds(0.99) or 0) <= 0.1  # the bucket that every call fell into
    assert budget.whole.events > 0 and budget.good_share == 1 and budget.spent == 0


def test_a_killed_replica_stays_a_target_that_is_down(city: Lab) -> None:
    """Prometheus says up 0 of a replica that is killed, and up 1 of it again at the same address."""
    ports = targets(city)
    city.kill("rides", 2)
    until(lambda: up(city) == {**BOTH, "rides-2": 0.0}, SECONDS)
    city.launch("rides")
    until(lambda: up(city) == BOTH, SECONDS)
    assert targets(city) == ports


def test_a_replica_is_scraped_when_it_is_added_and_no_more_when_it_is_gone(city: Lab) -> None:
    """The file of targets follows lab.scale, at the replicas' own addresses, not at the balancer's."""
    before = targets(city)
    front = city["stations"].url.rpartition("/")[2]
    assert before["stations-1"] == front
    city.scale("stations", 2)
    grown = targets(city)
    assert grown.keys() == {*before, "stations-2"} and front not in grown.values()
    assert len(set(grown.values())) == len(grown)
    city.scale("stations", 1)
    assert targets(city).keys() == before.keys()
    until(lambda: up(city) == BOTH, 20)


def test_the_port_of_figures_stays_over_a_restart_without_a_gap(city: Lab) -> None:
    """While one process takes over from another, both hold the port: no scrape fails."""
    with ask(city) as prometheus:
        began = prometheus.instant("time()")[0].value
        city.restart("rides")
        until(lambda: prometheus.instant("time()")[0].value > began + 1.5, SECONDS)
        lowest = prometheus.value('min(min_over_time(up{service="rides"}[2s]))')
    assert lowest == 1.0


def test_an_alert_reaches_the_pager_and_is_resolved(city: Lab) -> None:
    """Errors make the rule fire; the pager rings once, with labels and annotations, and once more when it is over."""
    call_rides(city, "500", 5)
    with ask(city) as prometheus:
        assert until(lambda: [(a.name, a.state) for a in prometheus.alerts()] == [("RidesFail", "firing")])
    until(lambda: pages_of(city, "RidesFail") == ["firing", "resolved"], SECONDS)
    [first, last] = pages(city)
    assert first["labels"]["severity"] == "page" and first["annotations"] == {"summary": "rides fail"}
    assert first["endsAt"] is None and last["endsAt"] > last["startsAt"] == first["startsAt"]


def test_saved_rules_take_effect_and_broken_ones_do_not(city: Lab) -> None:
    """What is saved is loaded while Prometheus runs; what promtool refuses is told, and the rules before it stay."""
    url, pid = city["prometheus"].url, city["prometheus"].pids
    write(city.folder / RULES_FILE, RULES.format(name="Renamed"))
    assert until(lambda: names(city) == ["Renamed"])
    write(city.folder / RULES_FILE, RULES.format(name="Broken").replace(") > 0", " > 0"))
    assert "the version before it still serves" in str(city.status())
    with pytest.raises(PrometheusRefuses) as caught:
        city["prometheus"]
    assert caught.value.where == f"{RULES_FILE}, line 6" and "unclosed left parenthesis" in caught.value.evidence
    assert "unclosed left parenthesis" in str(city.logs("prometheus"))
    with Prometheus(url) as prometheus:
        assert [rule.name for rule in prometheus.rules()] == ["Renamed"]
    write(city.folder / RULES_FILE, RULES.format(name="RidesFail"))
    assert until(lambda: names(city) == ["RidesFail"])
    assert city["prometheus"].pids == pid


def test_what_prometheus_has_measured_outlives_a_kill(city: Lab) -> None:
    """Killed and started again, Prometheus is at the same address and still knows what was before."""
    url, before = city["prometheus"].url, time.time()
    city.kill("prometheus")
    city.launch("prometheus")
    assert city["prometheus"].url == url
    with ask(city) as prometheus:
        assert prometheus.value('sum(http_requests_total{service="rides", status="500"})', before) is not None


def test_the_city_runs_without_the_programs(make_town: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Prometheus on PATH the error says how to get it, and services that ask for metrics run all the same."""
    monkeypatch.setenv("PATH", str(tmp_path))
    lab = make_town(service("rides", metrics="METRICS_PORT"), service("prometheus", kind="server", target="prometheus"))
    with pytest.raises(MissingProgram, match="prometheus"):
        lab.start()
    assert httpx.get(lab["rides"].url).status_code == 200


def targets(lab: Lab) -> dict[str, str]:
    """Return the addresses in the file of targets, by instance."""
    rows = json.loads((lab["prometheus"].data / TARGETS_FILE).read_text())
    return {row["labels"]["instance"]: row["targets"][0] for row in rows}
