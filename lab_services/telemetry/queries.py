"""Questions to a running Prometheus, by its HTTP API (prometheus.io, HTTP API, v1), with answers as plain facts.

with Prometheus(lab["prometheus"].url) as prometheus:
    prometheus.instant("up")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from lab_services.errors import NotRunning, PrometheusRefuses

SECONDS = 10.0  # one question


@dataclass(frozen=True)
class Sample:
    """One value of one series; `time` is in seconds since 1970."""

    labels: Mapping[str, str]
    time: float
    value: float


@dataclass(frozen=True)
class Series:
    """The values of one series over a range, as pairs of time and value, oldest first."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Exemplar:
    """One observation that stands for many: `labels` are its own (a trace_id), `series` those of its bucket."""

    series: Mapping[str, str]
    labels: Mapping[str, str]
    time: float
    value: float


@dataclass(frozen=True)
class Target:
    """What Prometheus scrapes: its labels, its address, its health (up, down, unknown) and the last error."""

    labels: Mapping[str, str]
    url: str
    health: str
    error: str


@dataclass(frozen=True)
class Rule:
    """A rule that is loaded: `kind` is alerting or recording, `state` that of an alert, `error` of its evaluation."""

    name: str
    kind: str
    query: str
    state: str
    health: str
    error: str


@dataclass(frozen=True)
class Alert:
    """An alert that is pending or firing, since `active_at` (RFC 3339)."""

    name: str
    state: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    active_at: str


class Prometheus:
    """A client of one Prometheus; every question raises the errors of `_ask`."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=SECONDS, trust_env=False)

    def __enter__(self) -> Prometheus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def instant(self, query: str, at: float | None = None) -> tuple[Sample, ...]:
        """Return what a query finds at one time (now, without one): a sample a series, or one without labels."""
        found = self._ask("query", query=query, **({} if at is None else {"time": at}))
        rows = [{"metric": {}, "value": found["result"]}] if found["resultType"] == "scalar" else found["result"]
        if found["resultType"] not in ("vector", "scalar"):
            raise PrometheusRefuses(
                f"the query finds a {found['resultType']}, no value for each series",
                where=query,
                next_step="leave out the range in brackets, or put a function such as rate(...) around it",
            )
        return tuple(Sample(row["metric"], row["value"][0], float(row["value"][1])) for row in rows)

    def value(self, query: str, at: float | None = None) -> float | None:
        """Return the one value that a query finds, or None when it finds nothing."""
        found = self.instant(query, at)
        if len(found) > 1:
            raise PrometheusRefuses(
                f"the query finds {len(found)} series, not one",
                where=query,
                evidence="\n".join(str(dict(sample.labels)) for sample in found[:5]),
                next_step="put sum(...) around it, or name more labels",
            )
        return found[0].value if found else None

    def range(self, query: str, start: float, end: float, step: float) -> tuple[Series, ...]:
        """Return what a query finds from `start` to `end`, each `step` seconds."""
        found = self._ask("query_range", query=query, start=start, end=end, step=step)["result"]
        return tuple(Series(row["metric"], tuple((at, float(value)) for at, value in row["values"])) for row in found)

    def exemplars(self, query: str, start: float, end: float) -> tuple[Exemplar, ...]:
        """Return the exemplars of the series that a query names, oldest first."""
        rows = self._ask("query_exemplars", query=query, start=start, end=end)
        found = (
            Exemplar(row["seriesLabels"], each["labels"], float(each["timestamp"]), float(each["value"]))
            for row in rows
            for each in row["exemplars"]
        )
        return tuple(sorted(found, key=lambda exemplar: exemplar.time))

    def targets(self) -> tuple[Target, ...]:
        """Return what Prometheus scrapes."""
        rows = self._ask("targets", state="active")["activeTargets"]
        return tuple(Target(row["labels"], row["scrapeUrl"], row["health"], row["lastError"]) for row in rows)

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules that are loaded, in the order of their file."""
        return tuple(
            Rule(row["name"], row["type"], row["query"], row.get("state", ""), row["health"], row.get("lastError", ""))
            for row in self._rules()
        )

    def alerts(self) -> tuple[Alert, ...]:
        """Return the alerts that are pending or firing."""
        rows = self._ask("alerts")["alerts"]
        return tuple(
            Alert(row["labels"]["alertname"], row["state"], row["labels"], row["annotations"], row["activeAt"])
            for row in rows
        )

    def _rules(self) -> Iterator[dict[str, Any]]:
        for group in self._ask("rules")["groups"]:
            yield from group["rules"]

    def _ask(self, what: str, **fields: Any) -> Any:
        """Ask one question.

        Raises:
            PrometheusRefuses: it does not take the question: its own words.
            NotRunning: nobody answers there, or somebody who is no Prometheus.
        """
        where = f"{self._client.base_url}api/v1/{what}"
        try:
            answer = self._client.get(f"/api/v1/{what}", params=fields)
            said = answer.json()
            if said["status"] == "success":
                return said["data"]
            evidence = f"{said['errorType']}: {said['error']}"
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise NotRunning(
                "no Prometheus answers", where=where, evidence=repr(error), next_step="lab.status()"
            ) from None
        raise PrometheusRefuses(
            "Prometheus does not take this question",
            where=str(fields.get("query", where)),
            evidence=evidence,
            next_step="mend the query where the words above point: line:column",
        )
