"""Read what Envoy says against a configuration: its words without the copies of the configuration, and the field."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BEGIN = re.compile(r"error initializing configuration '[^']*': ")
_ECHO = re.compile(r"\): \{\"node\".*", re.S)  # the file once more
_DUMP = re.compile(r"goo\.gle/debug\w+.*?\n: (?=Proto constraint)", re.S)  # one message once more, in protobuf's text
_PLACE = re.compile(r"@ ?(\S+): message|@ ?(\S+): \w+,")
_UNKNOWN = re.compile(r"no such field: '([^']+)'")
_BROKEN_RULE = re.compile(r"(\w+)ValidationError\.(\w+(?:\[[^\]]*\])?)")
_QUOTED = re.compile(r"'([^']+)'")
_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")


@dataclass(frozen=True)
class Complaint:
    """Envoy's message on one line, the path of the field as Envoy names it, and words to look for in a source."""

    message: str
    path: str
    words: tuple[str, ...]

    def line_in(self, files: Sequence[Path]) -> str:
        """Return "traffic.py:14", the line that most likely wrote the field, or an empty text."""
        for word in self.words:
            whole = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
            for file in files:
                text = file.read_text()
                for number in _written_lines(text):
                    if whole.search(text.splitlines()[number - 1].split("#")[0]):
                        return f"{file.name}:{number}"
        return ""


def _written_lines(source: str) -> list[int]:
    """Return the numbers of the lines that can have written a field: no docstring and no import can."""
    lines = range(1, len(source.splitlines()) + 1)
    try:
        found = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # it is not Python
        return list(lines)
    others: set[int] = set()
    for node in found:
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
            continue
        if not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant):
            others.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return [number for number in lines if number not in others]


def read_complaint(text: str) -> Complaint:
    """Return the complaint in what `envoy --mode validate` has written to its standard error."""
    said = text[match.end() :] if (match := _BEGIN.search(text)) else text
    message = without_copies(said)
    place = _PLACE.search(message)
    path = next((found for found in place.groups() if found), "") if place else _broken_rules(message)
    unknown = _UNKNOWN.search(message)
    if unknown:
        path = f"{path}.{unknown[1]}".lstrip(".")
    steps = [step for step in reversed(_STEP.findall(path)) if step[0] not in "[<"]
    return Complaint(message, path, tuple(dict.fromkeys([*_QUOTED.findall(message), *steps])))


def without_copies(said: str) -> str:
    """Return what Envoy says on one line, without the copies of the configuration that it adds."""
    return " ".join(_DUMP.sub("", _ECHO.sub(")", said)).split())


def _broken_rules(message: str) -> str:
    """Return route_config.virtual_hosts[0].name out of a chain of "XValidationError.RouteConfig | caused by ..."."""
    return ".".join(_field(name) for _, name in _BROKEN_RULE.findall(message))


def _field(name: str) -> str:
    base, bracket, index = name.partition("[")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", base).lower() + bracket + index


def readable(path: str, config: Any) -> str:
    """Return a path with the names of things in place of their numbers, as far as it leads through `config`.

    static_resources.clusters[0].lb_polycy becomes clusters["pricing"].lb_polycy.
    """
    said, here = "", config
    for step in _STEP.findall(path):
        if step.startswith("["):
            here = _element(here, step[1:-1])
            name = here.get("name") or here.get("cluster_name") if isinstance(here, dict) else None
            said += f'["{name}"]' if name else step
        elif step != "<any>":
            here = here.get(step) if isinstance(here, dict) else None
            said += f".{step}"
    return said.removeprefix(".static_resources").removeprefix(".")


def _element(here: Any, index: str) -> Any:
    if isinstance(here, dict):
        return here.get(index)
    inside = isinstance(here, list) and index.isdigit() and int(index) < len(here)
    return here[int(index)] if inside else None
