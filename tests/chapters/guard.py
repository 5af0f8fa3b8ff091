"""Close what nbval 0.11 lets pass, and write one line of JSON for each cell (load with `-p tests.chapters.guard`).

With nbval alone a cell passes although it was never run when it was stored, although a magic in it does not exist,
although it was to raise and did not, or although it is skipped; a dead kernel is waited for until the cell's
time-out; and kernels are ended by SIGKILL, so that nothing registered with atexit ever runs.
"""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, NbCellError

STOP_SECONDS = 6.0  # for a kernel to end by itself, atexit handlers included
POLL_SECONDS = 0.5
REPLY_SECONDS = 60.0
RAW_TRACEBACK = "Traceback (most recent call last)"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cells", default=None, help="file to write one line of JSON for each cell into")


def await_reply(self: Any, msg_id: str, timeout: float | None = None) -> None:
    """Wait for the answer to a cell and keep it; a dead kernel is noticed within a second."""
    deadline = time.monotonic() + (timeout or REPLY_SECONDS)
    self.last_reply = {}
    while True:
        try:
            left = deadline - time.monotonic()
            message = self.get_message("shell", timeout=min(POLL_SECONDS, max(0.01, left)))
        except queue.Empty:
            if not self.is_alive():
                raise RuntimeError("the kernel died while it ran this cell") from None
            if time.monotonic() >= deadline:
                raise
            continue
        if message["parent_header"].get("msg_id") == msg_id:
            self.last_reply = message["content"]
            return


def stop(self: Any) -> None:
    """Ask the kernel to end, so that its atexit handlers run."""
    self.kc.stop_channels()
    self.km.shutdown_wait_time = STOP_SECONDS
    self.km.shutdown_kernel(now=False)
    del self.km


RunningKernel.await_reply = await_reply
RunningKernel.stop = stop


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    if not isinstance(item, IPyNbCell):
        return (yield)
    if item.options["skip"]:
        item.raise_cell_error("the cell is tagged to be skipped: nothing would hold it")
    result = yield
    complaint = passed_silently(item)
    if complaint:
        item.raise_cell_error(complaint)
    return result


def passed_silently(item: Any) -> str | None:
    """Say why a cell that nbval passed is not sound, or None."""
    reply = item.parent.kernel.last_reply
    may_raise, strict = item.options["check_exception"], not item.config.option.nbval_lax
    if reply.get("status") == "error" and not may_raise:
        return f"the cell ended in {reply.get('ename')}: {reply.get('evalue')}"
    if strict and may_raise and reply.get("status") == "ok":
        return "the cell is tagged raises-exception but did not raise"
    if strict and item.cell.execution_count is None and item.cell.source.strip():
        return "the cell was never run: no stored output to compare with (course render stores it)"
    if RAW_TRACEBACK in json.dumps(item.test_outputs or []):
        return "the learner would see a raw traceback"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    target = item.config.getoption("--cells")
    if target and isinstance(item, IPyNbCell) and (call.when == "call" or report.outcome != "passed"):
        with Path(target).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(facts_of(item, call, report)) + "\n")
    return report


def facts_of(item: Any, call: pytest.CallInfo[None], report: pytest.TestReport) -> dict[str, Any]:
    """Return what the test of the chapters says about a cell. An expected failure is a failure here too."""
    error = call.excinfo.value if call.excinfo else None
    return {
        "notebook": str(item.path),
        "number": item.cell_num,
        "cell": item.cell.get("id", ""),
        "source": item.cell.source,
        "passed": error is None and report.outcome == "passed" and not hasattr(report, "wasxfail"),
        "message": str(error) if error else getattr(report, "wasxfail", ""),
        "detail": str(getattr(error, "inner_traceback", "") or "") if isinstance(error, NbCellError) else "",
        "seconds": round(report.duration, 3),
    }
