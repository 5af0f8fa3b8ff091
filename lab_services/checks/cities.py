"""The lab that the checks of one session share: started afresh for each check, closed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lab_services.errors import LabError
from lab_services.runtime.spec import LabSpec
from lab_services.runtime.workspace import open_workspace


class Cities:
    """Opens the lab on the judged workspace when the first check asks for it, and again when it was lost."""

    def __init__(self, spec: LabSpec, lab_class: Callable[..., Any]) -> None:
        self._spec = spec
        self._lab_class = lab_class
        self._lab: Any = None
        judged = os.environ.get("COURSE_CHECK_WORKSPACE")
        self._workspace = Path(judged) if judged else open_workspace(spec).folder
        result = os.environ.get("COURSE_CHECK_RESULT")
        self._scratch = Path(result).parent / "city" if result else self._workspace / ".check"

    @contextmanager
    def city(self, shape: str | None, options: Mapping[str, Any] | None) -> Iterator[Any]:
        """Give a city in this shape, started with these options (None: not started), and stop it at the end."""
        if self._lab is None:
            self._lab = self._lab_class(self._spec, self._workspace, self._scratch)
        lab = self._lab
        lab.take_shape(shape)
        stopped = False
        try:
            if options is not None:
                lab.start(**options)
            yield lab
            lab.stop()
            stopped = True
        finally:
            if not stopped:
                self.close()

    def close(self) -> None:
        """End the runtime and every service."""
        lab, self._lab = self._lab, None
        if lab is not None:
            with suppress(LabError):
                lab.close()
