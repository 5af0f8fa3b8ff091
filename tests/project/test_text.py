"""What is committed names no machine and no registry, its links lead somewhere, and it is spelt right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".ipynb", ".ts", ".json", ".proto", ".conf", ".cfg", ".sh", ""}
HOSTS = [
    r"pypi\.(?:org|python)", r"python" + r"hosted\.org", r"registry\.npm" + r"js", r"deb\.deb" + r"ian\.org",
    r"conda\.ana" + r"conda", r"npm" + r"mirror", r"files\.py" + r"thon",
]  # fmt: skip
MACHINE_PATHS = [
    r"/tmp/[\w.-]+/",
    r"/home/\w+/",
    r"/Users/\w+/",
    r"/root/",
    r"/work/\w+",
    r"/var/folders/",
]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
RUN_SECONDS = 240


@cache
def texts() -> dict[Path, str]:
    """Return every text file that git knows or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git work tree; to run this test: git clone the course")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name and Path(name).suffix in TEXT]
    return {path: path.read_text() for path in paths if path.is_file() and path != Path(__file__)}


def hits(patterns: list[str], files: dict[Path, str]) -> list[str]:
    """Return file, line and match of every pattern."""
    joined = re.compile("|".join(patterns))
    return [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        for match in [joined.search(line)]
        if match
    ]


def test_no_registry_is_named() -> None:
    """Packages are named by name and version; where they come from is the machine's own setting."""
    assert not hits(HOSTS, texts())


def test_no_machine_path_is_written_down() -> None:
    """No committed file holds a path that exists on one machine only, stored outputs of notebooks least of all."""
    spared = {path: text for path, text in texts().items() if "tests" not in path.relative_to(ROOT).parts[:1]}
    assert not hits(MACHINE_PATHS, spared)


def markdown() -> Iterator[tuple[Path, str]]:
    """Yield each text in Markdown: files, and the cells of chapters joined."""
    for path, text in texts().items():
        if path.suffix == ".md":
            yield path, text
        elif path.suffix == ".ipynb":
            cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
            yield path, "\n\n".join("".join(cell["source"]) for cell in cells)


def without_code(text: str) -> str:
    """Return Markdown without fenced and inline code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S))


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, in JupyterLab's spelling and in GitHub's, and explicit ids."""
    found = set(re.findall(r"""<\w+[^>]*\b(?:id|name)=["']([^"']+)""", text))
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*$", text, flags=re.M):
        plain = re.sub(r"[`*]", "", heading)
        found |= {plain.replace(" ", "-"), re.sub(r"[^\w\- ]", "", plain).strip().lower().replace(" ", "-")}
    return found


def test_every_relative_link_leads_somewhere() -> None:
    """Each relative link of a Markdown file or chapter names a file that is there, and a heading in it."""
    broken = []
    contents = dict(markdown())
    for path, text in contents.items():
        for target in LINK.findall(without_code(text)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            inside = contents.get(file)
            if not file.exists() or (anchor and inside is not None and anchor not in anchors(inside)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken, broken


def test_an_outside_link_says_where_it_leads() -> None:
    """No link text is "here", "link" or a bare address."""
    bad = re.compile(r"\[(?:here|link|this|https?://[^\]]*)\]\(", re.I)
    assert not hits([bad.pattern], {path: without_code(text) for path, text in markdown()})


def test_the_spelling_is_right() -> None:
    """codespell finds no misspelt word in the prose, the code and the chapters' cells."""
    names = [str(path.relative_to(ROOT)) for path in texts() if path.suffix != ".ipynb"]
    cells = "\n".join(text for path, text in markdown() if path.suffix == ".ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *names], cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS
    )
    prose = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "-"],
        cwd=ROOT, input=cells, capture_output=True, text=True, timeout=RUN_SECONDS,
    )  # fmt: skip
    assert (done.stdout, prose.stdout) == ("", ""), done.stdout + prose.stdout
