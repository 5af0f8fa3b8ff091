"""Authorities: who signs the certificates of the city, and how another one takes over. Given.

At most three have a part in it, each kept in a file that its owner alone can read, so that a plane that is started
again finds them. `previous` and `next` are None but for a while:

| step      | what the operator does                               | previous | current | next |
| --------- | ---------------------------------------------------- | -------- | ------- | ---- |
|           |                                                      | None     | A       | None |
| `prepare` | makes an authority B that is to take over            | None     | A       | B    |
| `switch`  | lets B sign from now on                              | A        | B       | None |
| `retire`  | gives A up, once every certificate that it signed is gone | None | B       | None |

`renew` is no part of it: it lets `current` forget what it has issued, so that every service gets a new certificate.
"""

from pathlib import Path

from lab_services.mesh.authority import Authority, open_authority

STEPS = ("renew", "prepare", "switch", "retire")


class Authorities:
    """The authorities of the city, in a folder."""

    current: Authority
    previous: Authority | None
    next: Authority | None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read()

    def do(self, step: str) -> None:
        """Take one of STEPS. Raise ValueError, and change nothing, when it is not its turn."""
        if step not in STEPS:
            raise ValueError(f"no such step; there are {', '.join(STEPS)}")
        if step == "prepare" and (self.next or self.previous):
            raise ValueError("another authority is still taking over")
        if step == "switch" and not self.next:
            raise ValueError("there is no next authority: prepare one first")
        if step == "retire" and not self.previous:
            raise ValueError("there is no previous authority")
        getattr(self, f"_{step}")()

    def _read(self) -> None:
        if not self._file("current").exists() and self._file("next").exists():
            self._move("next", "current")  # a plane that died in the middle of `switch`
        self.current = open_authority(self._file("current"))
        self.previous = self._kept("previous")
        self.next = self._kept("next")

    def _renew(self) -> None:
        self.current = open_authority(self._file("current"))

    def _prepare(self) -> None:
        self.next = open_authority(self._file("next"))

    def _switch(self) -> None:
        self._move("current", "previous")
        self._move("next", "current")
        self._read()

    def _retire(self) -> None:
        self._file("previous").unlink()
        self.previous = None

    def _file(self, part: str) -> Path:
        return self._folder / f"{part}.pem"

    def _kept(self, part: str) -> Authority | None:
        return open_authority(self._file(part)) if self._file(part).exists() else None

    def _move(self, part: str, to: str) -> None:
        self._file(part).replace(self._file(to))
