"""The plain-text and the HTML form of a check report. Both say the same."""

from __future__ import annotations

from lab_services.checks import report as r
from lab_services.checks.expectation import SHOWN_CHARACTERS
from lab_services.checks.report import CheckReport, CheckRow
from lab_services.views.html_table import TEXT, Html, badge, escape, paragraph, preformatted, table
from lab_services.views.plain_text import counted, text_table, visible, visible_lines

NEXT = "lab.hint() shows a hint for the first check that did not pass"
NEXT_SYNTAX = "mend that line, save the file, and check again"
NEXT_PLACE = "mend the place that is named above, save the file, and check again"
NEXT_ENVIRONMENT = "your code was not judged: mend what is named above and check again, or type: course doctor"

FULL_STOP = "."
_ANY = 2 * SHOWN_CHARACTERS  # the parts are shortened already, with their own words
_COLUMNS = ("what must hold", "verdict")
_PART_WIDTH = max(len(title) for title in r.PARTS.values()) + 2
_SIGNS = {r.PASSED: ("\u2713", "#1b6e35"), r.FAILED: ("\u2715", "#a51d2d"), r.NOT_RUN: ("\u25cb", "#55606b")}


def report_text(report: CheckReport) -> str:
    """Return the headline, a row per check, the six parts of each failure, and what to type next."""
    lines = [report.headline]
    lines += text_table(_COLUMNS, [(visible(row.behaviour), row.words) for row in report.rows]).splitlines()
    for row, same in _failures(report):
        lines += ["", f"{visible(row.behaviour.rstrip(FULL_STOP))} ({row.check}): {row.words}"]
        lines += [line for title, text in row.parts().items() for line in _part_lines(title, text)]
        lines += [f"  {_the_same(same)}"] if same else []
    if (step := next_step(report)) is not None:
        lines += ["", f"next: {step}"]
    return "\n".join(line.rstrip() for line in lines)


def report_html(report: CheckReport) -> str:
    """Return the same as a captioned table, with one open block for the first failure and closed ones below."""
    rows = [(row.behaviour, _badge(row)) for row in report.rows]
    blocks = [_block(row, same, is_open=at == 0) for at, (row, same) in enumerate(_failures(report))]
    step = next_step(report)
    return (
        table(report.headline, _COLUMNS, rows)
        + "".join(blocks)
        + (paragraph(f"Next: {step}") if step is not None else "")
    )


def next_step(report: CheckReport) -> str | None:
    """Say what to do after this report; None when all passed and there is no task whose solution could be shown."""
    first = report.first_failing
    if first is not None:
        return _NEXT_OF.get(first.kind, NEXT)
    tasks = list(dict.fromkeys(row.task for row in report.rows if row.task))
    task = report.task or (tasks[0] if tasks else "")
    return f'lab.solution("{task}") shows ours' if task else None


_NEXT_OF = {
    r.SYNTAX: NEXT_SYNTAX,
    r.NOT_STARTED: NEXT_PLACE,
    r.CRASHED: NEXT_PLACE,
    r.ENVIRONMENT: NEXT_ENVIRONMENT,
}


def _failures(report: CheckReport) -> list[tuple[CheckRow, list[str]]]:
    """Return each failure once, with the names of the later checks that failed for the very same reason."""
    found: dict[tuple[str, str], tuple[CheckRow, list[str]]] = {}
    for row in report.rows:
        if row.verdict == r.PASSED or row.failure is None:
            continue
        reason = ("", row.check) if row.kind == r.ASSERTION else (row.kind, row.parts().get(r.PARTS["came"], ""))
        if reason in found:
            found[reason][1].append(row.check)
        else:
            found[reason] = (row, [])
    return list(found.values())


def _the_same(checks: list[str]) -> str:
    return f"the same for {counted(len(checks), 'more check')}: {', '.join(checks)}"


def _part_lines(title: str, text: str) -> list[str]:
    first, *more = visible_lines(text, _ANY)
    return [f"  {title + ':':<{_PART_WIDTH}}{first}", *(f"  {'':<{_PART_WIDTH}}{line}" for line in more)]


def _badge(row: CheckRow) -> Html:
    sign, background = _SIGNS.get(row.verdict, ("?", "#55606b"))
    return badge(row.words, sign, background, "#ffffff")


def _block(row: CheckRow, same: list[str], *, is_open: bool) -> str:
    parts = [(title, Html(preformatted(visible_lines(text, _ANY)))) for title, text in row.parts().items()]
    behaviour = row.behaviour.rstrip(FULL_STOP)
    words = escape(f"Show why: {behaviour} ({row.check})")
    summary = f'<summary style="cursor:pointer;{TEXT}">{words}</summary>'
    body = table(f"{behaviour}: {row.words}", ("part", "what is known"), parts)
    body += paragraph(_the_same(same)) if same else ""
    return f'<details{" open" if is_open else ""} style="margin:0.5em 0;{TEXT}">{summary}{body}</details>'
