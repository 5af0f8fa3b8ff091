"""Read a lab.toml: from text to typed values, with a refusal that names the key, the value and what to write."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from lab_services.errors import SpecError

LARGEST_BYTES = 1_000_000
_TYPES: dict[type, str] = {
    str: "text in quotes",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """One table of a lab.toml, with the file and the place it stands at."""

    entries: Mapping[str, object]
    file: str
    place: str = ""

    def refuse(self, what: str, *, evidence: str = "", next_step: str = "") -> SpecError:
        """Build the error for this table; the caller raises it."""
        where = f"{self.file}, [{self.place}]" if self.place else self.file
        return SpecError(what, where=where, evidence=evidence, next_step=next_step)

    def only(self, allowed: Iterable[str]) -> None:
        """Refuse the first key that a lab.toml does not know here."""
        allowed = tuple(allowed)
        for key in self.entries:
            if key not in allowed:
                raise self.refuse(
                    f"{self.name} has a key {key!r} that no lab.toml knows{did_you_mean(key, allowed)}",
                    evidence="keys it may have: " + ", ".join(allowed),
                    next_step=f"rename or remove {key!r}",
                )

    @property
    def name(self) -> str:
        """Return the place in words."""
        return self.place or "lab.toml"

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty; without a default it must be there."""
        value = self._typed(key, str, default)
        if value == "" or "\0" in value:
            raise self.refuse(f"{key!r} of {self.name} is empty or holds a zero byte", next_step=f"write a {key}")
        return value

    def whole(self, key: str, lowest: int, highest: int, default: int | None = None) -> int:
        """Return a whole number within both limits."""
        value = self._typed(key, int, default)
        if not lowest <= value <= highest:
            raise self.refuse(
                f"{key!r} of {self.name} is {value}, which is out of range",
                next_step=f"write a whole number from {lowest} to {highest}",
            )
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        return self._typed(key, bool, default)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of different texts; () when it is not there."""
        values = self._typed(key, list, [])
        for position, value in enumerate(values):
            if not isinstance(value, str) or not value:
                raise self.wrong_type(f"{key}[{position}]", value, str)
            if value in values[:position]:
                raise self.refuse(f"{key!r} of {self.name} lists {value!r} twice", next_step="write it once")
        return tuple(values)

    def table(self, key: str) -> Table:
        """Return the table below this key, empty when it is not there."""
        place = f"{self.place}.{key}" if self.place else key
        return Table(self._typed(key, dict, {}), self.file, place)

    def tables(self, key: str) -> tuple[Table, ...]:
        """Return the list of tables below this key."""
        found = []
        for number, value in enumerate(self._typed(key, list, []), start=1):
            if not isinstance(value, dict):
                raise self.wrong_type(f"{key} number {number}", value, dict)
            found.append(Table(value, self.file, f"{key} number {number}"))
        return tuple(found)

    def wrong_type(self, key: str, value: object, kind: type) -> SpecError:
        """Build the error for a value of another type."""
        return self.refuse(
            f"{key!r} of {self.name} is {_TYPES.get(type(value), type(value).__name__)}, not {_TYPES[kind]}",
            evidence=f"{key} = {value!r}"[:200],
            next_step=f"write {_TYPES[kind]}",
        )

    def _typed(self, key: str, kind: type[T], default: T | None) -> T:
        value = self.entries.get(key, default)
        if value is None:
            raise self.refuse(f"{self.name} has no {key!r}", next_step=f"add {key} = ... ({_TYPES[kind]})")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.wrong_type(key, value, kind)
        return value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known word, or nothing."""
    near = get_close_matches(word, tuple(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def read_toml(path: Path, file: str) -> Table:
    """Read one TOML file of at most 1 MB.

    Raises:
        SpecError: not there, not readable, too large, not UTF-8, or not TOML (with line and column).
    """
    text = _text(path, file)
    try:
        return Table(tomllib.loads(text), file)
    except RecursionError:
        raise SpecError(f"{file} nests too deep", where=file, next_step="write flat lists and tables") from None
    except ValueError as error:  # TOMLDecodeError is one; a number of 5,000 digits is a plain one
        raise SpecError(
            f"{file} is not TOML: {error}",
            where=file,
            evidence=_line(text, str(error)),
            next_step="mend that line and save",
        ) from None


def _text(path: Path, file: str) -> str:
    try:
        if not path.is_file():
            raise SpecError(f"{file} is not there", where=file, next_step="restore it: git restore " + file)
        with path.open("rb") as source:
            content = source.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise SpecError(f"{file} is larger than 1 MB", where=file, next_step="a lab.toml has a few dozen lines")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SpecError(f"{file} is not UTF-8", where=file, evidence=str(error), next_step="save it as UTF-8") from None
    except OSError as error:
        raise SpecError(
            f"{file} cannot be read", where=file, evidence=str(error), next_step="check its permissions"
        ) from None


def _line(text: str, message: str) -> str:
    """Return the line that the message of tomllib points at."""
    found = re.search(r"at line (\d+)", message)
    lines = text.splitlines()
    number = int(found[1]) if found else len(lines)
    return f"line {number}: {lines[number - 1]}"[:200] if 0 < number <= len(lines) else "the end of the file"
