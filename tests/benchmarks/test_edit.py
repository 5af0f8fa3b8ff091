"""Save a file, and how long until its new answer comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx

from tests.benchmarks.plain import SERVICE, make_lab, plain_uvicorns, table

EDITS = 7
ANSWER_SECONDS = 20.0


def test_save_to_first_new_answer(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """A saved file answers after a fifth of the time that `uvicorn --reload` takes."""
    lab = make_lab(tmp_path, ["ours", "theirs"])
    code = tmp_path / "code"
    try:
        lab.start(skip=["theirs"])
        ours = edits(code / "ours.py", lab["ours"].url)
    finally:
        lab.close()
    with plain_uvicorns(code, ["theirs"], "--reload", "--reload-include", "theirs.py") as [plain]:
        theirs = edits(code / "theirs.py", plain.url)
    table("save to first new answer", {"the lab": ours, "uvicorn --reload": theirs})
    value = median(ours) / median(theirs)
    for name, said in {"value": value, "limit": 0.20, "seconds": ours, "plain": theirs}.items():
        record_property(name, said)
    record_property("figure", "save a file to its first new answer")
    assert value <= 0.20


def edits(file: Path, url: str) -> list[float]:
    """Save a new word several times, each after the last one answered; return the seconds until it was served."""
    return [seconds_to(file, url, f"word{n}") for n in range(EDITS + 1)][1:]


def seconds_to(file: Path, url: str, word: str) -> float:
    """Save the service with another word, ask until it is the answer; return the seconds."""
    began = time.perf_counter()
    file.write_text(SERVICE.replace('"first"', f'"{word}"'))
    with httpx.Client() as client:
        while time.perf_counter() - began < ANSWER_SECONDS:
            try:
                if client.get(url, timeout=1).json()["word"] == word:
                    return time.perf_counter() - began
            except httpx.TransportError:
                pass  # uvicorn --reload drops connections while it restarts
            time.sleep(0.002)
    raise AssertionError(f"{word} was not served within {ANSWER_SECONDS:g} s")
