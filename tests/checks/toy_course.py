"""A toy course: one lab whose service is a price, with checks that a test can replace."""

from __future__ import annotations

import textwrap
from pathlib import Path

from lab_services.runtime.spec import LabSpec, load_spec
from lab_services.runtime.workspace import open_workspace

NAME = "07_toy"
STARTER = '''"""The toy service: it knows one price."""
from fastapi import FastAPI

app = FastAPI()
# --- your turn 7.1 ---
PRICE = 100
# --- end 7.1 ---
# --- your turn 7.2 ---
TITLE = "toy"
# --- end 7.2 ---


@app.get("/health/live")
@app.get("/health/ready")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/price")
def price() -> dict[str, int]:
    print("asked for the price", flush=True)
    return {"cents": PRICE}
'''
SOLUTION = STARTER.replace("PRICE = 100", "PRICE = 120").replace('TITLE = "toy"', 'TITLE = "bike"')
HEAD = """
import os, re, signal, subprocess, sys, time
from pathlib import Path
import pytest
from lab_services.checks import eventually, expect, rows, together

def setting(name):
    text = (Path(os.environ["COURSE_CHECK_WORKSPACE"]) / "toy.py").read_text()
    return re.search(rf"^{name} = (.*)$", text, re.M)[1]
"""
PRICE_CHECK = '''
def test_price():
    """A ride costs 120 cents."""
    came = setting("PRICE")
    expect(came == "120", sent="GET /price", expected="120 cents", came=f"{came} cents",
           why="the wallet would take too little for the ride", look="toy.py: PRICE", service="toy")
'''
TITLE_CHECK = '''
def test_title():
    """The toy has the name of a bike."""
    assert setting("TITLE") == '"bike"'
'''
LAB = """
title = "Toy"
minutes = 5
[services.toy]
run = "toy:app"
"""
TASK = """
[[tasks]]
id = "{id}"
title = "{title}"
files = ["toy.py"]
checks = {checks}
red = []
hints = ["look at `PRICE`", "read [the chapter](../chapters/07.ipynb#price)", "<b>120</b>"]
"""


class Course:
    """A course folder in tmp, with the lab 07_toy."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lab = root / "labs" / NAME
        self.solution = root / "solutions" / NAME
        self.lab.mkdir(parents=True)
        self.solution.mkdir(parents=True)
        (self.lab / "toy.py").write_text(STARTER)
        (self.solution / "toy.py").write_text(SOLUTION)
        self.write(PRICE_CHECK, ["test_price"])

    def write(self, checks: str, first: list[str], second: list[str] | None = None, more: str = "") -> None:
        """Write the check file and a lab.toml whose tasks list these checks."""
        (self.lab / "test_toy.py").write_text(HEAD + textwrap.dedent(checks))
        tasks = TASK.format(id="7.1", title="The price", checks=first) + more
        if second is not None:
            tasks += TASK.format(id="7.2", title="The name", checks=second)
        (self.lab / "lab.toml").write_text(LAB + tasks)

    def check(self, body: str) -> None:
        """Make this the body of the only check."""
        body = textwrap.indent(textwrap.dedent(body), "    ")
        self.write(f'def test_it():\n    """It holds."""\n{body}', ["test_it"])

    @property
    def spec(self) -> LabSpec:
        """The lab as it is now."""
        return load_spec(NAME, root=self.root)

    @property
    def mine(self) -> Path:
        """The learner's toy.py."""
        return open_workspace(self.spec).folder / "toy.py"

    def answer(self, old: str, new: str) -> None:
        """Change the learner's file."""
        self.mine.write_text(self.mine.read_text().replace(old, new))

    def left_over(self) -> list[str]:
        """What check runs have left below work/.checks."""
        return sorted(path.name for path in (self.root / "work" / ".checks").glob("*"))
