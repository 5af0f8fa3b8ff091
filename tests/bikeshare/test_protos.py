"""The interface definitions of the city pass buf's rules, and follow them without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.bikeshare.town import ROOT

BUF = Path(sys.executable).parent / "buf"
PROTOS = ROOT / "lab_services" / "bikeshare" / "protos"
LINT_SECONDS = 60


def test_buf_finds_nothing_to_say_about_the_interfaces() -> None:
    """`buf lint` and `buf format` are silent over protos/, by the rules of its buf.yaml."""
    for words in (["lint"], ["format", "--diff", "--exit-code"]):
        told = subprocess.run([BUF, *words], cwd=PROTOS, capture_output=True, text=True, timeout=LINT_SECONDS)
        assert (told.returncode, told.stdout, told.stderr) == (0, "", ""), words


def test_buf_would_find_something(tmp_path: Path) -> None:
    """The same rules refuse an rpc that says nothing of itself: the test above can fail."""
    (tmp_path / "buf.yaml").write_bytes((PROTOS / "buf.yaml").read_bytes())
    source = (PROTOS / "bikeshare/locks/v1/locks.proto").read_text()
    copy = tmp_path / "bikeshare/locks/v1/locks.proto"
    copy.parent.mkdir(parents=True)
    copy.write_text(source.replace("// One lock.\n", ""))
    told = subprocess.run([BUF, "lint"], cwd=tmp_path, capture_output=True, text=True, timeout=LINT_SECONDS)
    assert told.returncode == 100 and "GetLockResponse" in told.stdout
