"""Microservices by Running Them: what a notebook imports.

    from lab_services import open_lab
    lab = open_lab("01_services")

The names are looked up when they are first used, so that the set-up command can import this package with nothing
but Python's own library, whatever the version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import LabError
    from .lab import Lab, open_lab

__all__ = ["Lab", "LabError", "open_lab"]

_HOMES = {"Lab": "lab", "LabError": "errors", "open_lab": "lab"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
