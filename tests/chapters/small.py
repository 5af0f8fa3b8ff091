"""Small notebooks for the tests of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat


def text(source: str) -> Any:
    """Return a cell of prose."""
    return nbformat.v4.new_markdown_cell(source)


def code(source: str, *outputs: Any, tags: tuple[str, ...] = (), count: int | None = 1) -> Any:
    """Return a code cell as it would be stored after a run."""
    metadata = {"tags": list(tags)} if tags else {}
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), execution_count=count, metadata=metadata)


def printed(said: str, name: str = "stdout") -> Any:
    """Return an output as `print` leaves it."""
    return nbformat.v4.new_output("stream", name=name, text=said)


def shown(count: int = 1, **data: str) -> Any:
    """Return an output as the last expression of a cell leaves it; `text_plain=...` is the type text/plain."""
    types = {name.replace("_", "/", 1): value for name, value in data.items()}
    return nbformat.v4.new_output("execute_result", data=types, execution_count=count)


def failed(name: str, said: str) -> Any:
    """Return an output as an exception leaves it."""
    return nbformat.v4.new_output("error", ename=name, evalue=said, traceback=[])


def book(*cells: Any) -> Any:
    """Return a notebook of these cells."""
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel})


def write(path: Path, *cells: Any) -> Path:
    """Write a notebook of these cells to a file."""
    nbformat.write(book(*cells), path)
    return path
