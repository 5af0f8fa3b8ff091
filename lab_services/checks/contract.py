"""Compare a service with its own OpenAPI document: schemathesis makes requests of it, and each answer must be in it.

    with ContractTool() as tool:     # half of the work of schemathesis is to import itself: this begins it ...
        tool.get_ready()             # ... and this waits for it
        tried = tool.run(city["rides"].url, {"ride_id": "r-1"})
    tried.findings[0]                # what was asked, what came, what the document says, and a curl line

It is the command-line tool in a process of its own, with the settings below: a learner can do the same.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lab_services.checks.limits import check_seconds

SHARE = 0.85  # of the time of a check: a run takes about two seconds, on a busy machine it is cut off after this
SHOWN_CHARACTERS = 160  # of an answer, of a sentence of schemathesis
# Each run has its own folder. Hypothesis' tables of Unicode are kept with the packages: they take a second to make.
OUR_OWN = {"NO_PROXY": "*", "HYPOTHESIS_STORAGE_DIRECTORY": str(Path(sys.prefix, ".hypothesis"))}

SETTINGS = """
request-timeout = 3.0

[generation]
deterministic = true  # the same document is asked the same questions
max-examples = 5      # of each operation in each phase; the coverage phase walks the limits of every field besides
no-shrink = true      # the first failing request is shown, not the smallest: shrinking takes longer than the run

[phases.examples]
enabled = false  # the coverage phase begins with the same examples

[phases.stateful]
max-steps = 4

[checks]
# Off: to it, POST /rides has created /rides/{id}/report as well, which is not there before a rider writes one.
ensure_resource_availability.enabled = false

# Wider: 402 is an answer to a right question (no money), and 422 to 5.0 where the document says integer. JSON Schema
# counts 5.0 as an integer, our bodies are strict, because cents are never floats; no document can say so.
positive_data_acceptance.expected-statuses = ["2xx", "402", "404", "409", "422"]

# On, as all the others: no 5xx (not_a_server_error), each status, Content-Type, header and body as documented
# (..._conformance), bad input is refused (negative_data_rejection), other methods get 405 (unsupported_method),
# and what was deleted is gone (use_after_free).

[reports.ndjson]
enabled = true
path = "run.ndjson"
"""


@dataclass(frozen=True)
class Finding:
    """One answer that is not in the document: `rule` is schemathesis' name of the check that found it."""

    rule: str
    asked: str
    came: str
    told: str
    curl: str

    def __str__(self) -> str:
        return f"{self.asked} answered {self.came}\n{self.told}\n{self.curl}"


@dataclass(frozen=True)
class Tried:
    """A run: how many requests were made, of which operations ("POST /rides"), and what was found, shortest first.

    Operations that the document does not have are tried as well: they must be refused.

    `trouble` says why the run came to no end, or not to all operations.
    """

    requests: int
    operations: frozenset[str]
    findings: tuple[Finding, ...]
    trouble: str = ""


class ContractTool:
    """schemathesis, started and importing itself as soon as the `with` begins; good for one run."""

    def __enter__(self) -> Self:
        # Where the check runs, not in /tmp: when the check is killed, its folder is removed, and this one with it.
        self._folder = tempfile.TemporaryDirectory(prefix="contract-", dir=Path.cwd(), ignore_cleanup_errors=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHEMATHESIS")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab_services.checks.contract_process"],
            cwd=self._folder.name, env=environment | OUR_OWN | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def get_ready(self) -> None:
        """Wait until everything is imported."""
        assert self._process.stdout
        self._process.stdout.readline()

    def run(self, url: str, known: Mapping[str, str], leave_out: str = "^/health") -> Tried:
        """Make requests after the document of a service, and return one finding of each operation and rule.

        Args:
            url: the address of the service, whose document is at /openapi.json.
            known: values of path parameters that exist, so that not every request ends in a 404: used for half of them.
            leave_out: a pattern of paths that are not asked.
        """
        Path(self._folder.name, "settings.toml").write_text(SETTINGS + _known(known), encoding="utf-8")
        arguments = ["--config-file", "settings.toml", "run", f"{url}/openapi.json"]
        output = self._output_of([*arguments, "--exclude-path-regex", leave_out, "--no-color"])
        report = Path(self._folder.name, "run.ndjson")
        lines = report.read_text(encoding="utf-8").splitlines() if report.is_file() else []
        events = list(_events(lines))
        finished = any("EngineFinished" in event for event in events)
        return _tried(events, "" if finished else f"schemathesis: {_short(output)}")

    def _output_of(self, arguments: list[str]) -> str:
        """Run to the end or to the end of the time; what was found until then is in the report."""
        limit = SHARE * check_seconds()
        try:
            output, _ = self._process.communicate(json.dumps(arguments) + "\n", timeout=limit)
        except subprocess.TimeoutExpired:
            return f"no end after {limit:g} s"
        return " ".join(output.split()[-40:])


def _events(lines: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the events that were written whole; the last line of a run that was cut off is not."""
    for line in lines:
        with suppress(ValueError):
            yield json.loads(line)


def _known(known: Mapping[str, str]) -> str:
    words = [f"[dictionaries.{name}]\nvalues = [{json.dumps(value)}]" for name, value in known.items()]
    uses = [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.5 }}' for name in known]
    return "\n".join(["", *words, "[parameters]", *uses, ""])


def _tried(events: list[dict[str, Any]], trouble: str) -> Tried:
    recorders = [event["ScenarioFinished"]["recorder"] for event in events if "ScenarioFinished" in event]
    findings: dict[tuple[str, str], Finding] = {}
    operations, requests = set(), 0
    for recorder in recorders:
        requests += len(recorder.get("interactions", {}))
        operations |= {_operation(recorder, name) for name in recorder.get("interactions", {})}
        for finding, operation in _findings(recorder):
            known = findings.setdefault((operation, finding.rule), finding)
            findings[operation, finding.rule] = min(known, finding, key=_length)
    errors = [event["NonFatalError"] for event in events if "NonFatalError" in event]
    errors += [event["FatalError"] for event in events if "FatalError" in event]
    trouble = trouble or (_short(json.dumps(errors[0])) if errors else "")
    return Tried(requests, frozenset(operations), tuple(sorted(findings.values(), key=_length)), trouble)


def _findings(recorder: dict[str, Any]) -> Iterator[tuple[Finding, str]]:
    for name, checks in recorder.get("checks", {}).items():
        for check in [each for each in checks if each["status"] == "failure"]:
            failure = check["failure_info"]["failure"]
            request, answer = (recorder["interactions"][name].get(part) or {} for part in ("request", "response"))
            path = request.get("uri", "").partition("://")[2].partition("/")[2]
            body = _decoded(answer.get("content"))
            yield (
                Finding(
                    rule=check["name"],
                    asked=f"{request.get('method')} /{_short(path)}",
                    came=f"{answer.get('status_code', 'nothing')} {_short(body)}".rstrip(),
                    told=_short(f"{failure['title']}: {failure['message']}"),
                    curl=_curl(request),
                ),
                str(failure.get("operation")),
            )


def _operation(recorder: dict[str, Any], name: str) -> str:
    value = recorder["cases"].get(name, {}).get("value", {})
    return f"{value.get('method', '').upper()} {value.get('path', '')}"


def _curl(request: dict[str, Any]) -> str:
    """Return the one line that asks the same again."""
    words = ["curl", "-i", "-X", str(request.get("method")), str(request.get("uri"))]
    kind = next((v[0] for name, v in request.get("headers", {}).items() if name.lower() == "content-type"), None)
    words += ["-H", f"Content-Type: {kind}"] if kind else []
    body = _decoded(request.get("body"))
    words += ["-d", body] if body else []
    return shlex.join(words)


def _decoded(body: dict[str, str] | None) -> str:
    return base64.b64decode((body or {}).get("$base64", "")).decode(errors="replace")


def _length(finding: Finding) -> int:
    return len(finding.curl)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " ..."
