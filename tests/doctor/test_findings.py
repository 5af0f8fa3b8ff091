"""What the doctor says, in words, in HTML and as an exit status."""

from __future__ import annotations

from lab_services.doctor import Diagnosis, Finding, examine

FINE = Finding("loopback", True, "5 of 5 calls reached us")
BROKEN = Finding("free disk", False, "0.10 GB at /x", "du -sh /x/*")
ABSENT = Finding("prometheus", False, "not found", "sudo apt install prometheus", required=False)


def test_a_healthy_machine_is_ready_to_start() -> None:
    """The summary of a healthy machine is the same two words everywhere, with what is optional missing or not."""
    assert Diagnosis((FINE,)).summary() == Diagnosis((FINE, ABSENT)).summary() == "ready to start"


def test_the_summary_names_what_is_broken_and_no_number() -> None:
    """A summary holds the names of what to mend: no version, path or size, so that a notebook can store it."""
    diagnosis = Diagnosis((FINE, BROKEN, ABSENT))
    assert not diagnosis.ok
    assert diagnosis.summary() == "not ready yet: free disk"


def test_every_finding_that_is_not_fine_shows_its_command() -> None:
    """Both forms, plain and HTML, hold the command that mends each thing, and say the verdict in words."""
    diagnosis = Diagnosis((FINE, BROKEN, ABSENT))
    for form in (repr(diagnosis), diagnosis._repr_html_()):
        assert "du -sh /x/*" in form and "sudo apt install prometheus" in form
        assert "mend this" in form and "optional" in form and "fine" in form


def test_foreign_text_is_escaped_in_html() -> None:
    """What a program printed cannot become part of the page."""
    html = Diagnosis((Finding("deno", False, "<script>alert(1)</script>", "mend"),))._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_a_look_that_breaks_down_is_a_finding() -> None:
    """An error inside one look does not end the examination; it is a finding with the look's name."""

    def broken_look() -> Finding:
        raise OSError("no such device")

    diagnosis = examine((lambda: FINE, broken_look))
    assert [finding.ok for finding in diagnosis.findings] == [True, False]
    assert "no such device" in diagnosis.findings[1].detail
    assert diagnosis.findings[1].name == "broken_look" and diagnosis.findings[1].mend


def test_the_facts_are_plain_json_types() -> None:
    """as_dict() holds the verdict, the summary and every field of every finding."""
    facts = Diagnosis((BROKEN,)).as_dict()
    assert facts["ok"] is False and facts["summary"] == "not ready yet: free disk"
    assert facts["findings"][0]["mend"] == "du -sh /x/*"


def test_this_machine_is_examined_for_real() -> None:
    """On the machine that runs the tests, everything required is fine, and each finding that is not has its command."""
    diagnosis = examine()
    names = {finding.name for finding in diagnosis.findings}
    assert {"Python", "packages", "nats-server", "deno", "envoy", "free disk", "leftovers", "loopback"} <= names
    assert all(finding.mend for finding in diagnosis.findings if not finding.ok)
    assert diagnosis.ok, repr(diagnosis)
