"""The table of services."""

from __future__ import annotations

from lab_services.runtime.states import ReplicaState, ServiceState
from lab_services.views import StatusView
from tests.views.both_forms import html_cells, soup_of, text_cells

CITY = (
    ServiceState(
        "rides",
        "run",
        "ready",
        url="http://127.0.0.1:40001",
        needs=("stations", "wallet"),
        calls=("notices",),
        replicas=(ReplicaState(1, "ready", "http://127.0.0.1:40011", 4711), ReplicaState(2, "killed")),
        restarts=2,
    ),
    ServiceState("stations", "use", "crashed", url="http://127.0.0.1:40002", note="it raised KeyError"),
    ServiceState("broker", "server", "stopped"),
    ServiceState("balancer", "runtime", "ready"),
)


def test_both_forms_carry_the_same_cells() -> None:
    """Cell for cell, the HTML table says what the plain table says."""
    view = StatusView("The city", CITY)
    assert html_cells(view) == text_cells(view)
    assert soup_of(view).caption.get_text() == str(view).split("\n")[0]


def test_a_row_says_state_program_needs_restarts_and_note() -> None:
    """A learner reads in words what runs, on what it leans and what happened to it."""
    rows = text_cells(StatusView("The city", CITY))[1:]
    words = "ready, 1 of 2 replicas (replica 2 killed)"
    assert rows[0] == ["rides", words, "your code", "stations, wallet; calls notices", "2", ""]
    assert rows[1] == ["stations", "crashed", "finished service", "nothing", "0", "it raised KeyError"]
    assert [row[2] for row in rows[2:]] == ["server", "part of the lab"]


def test_the_headline_counts_the_services_of_the_city_only() -> None:
    """A balancer that the course puts in is shown, yet is no service of the city."""
    assert str(StatusView("The city", CITY)).startswith("The city: 1 of 3 services ready\n")


def test_addresses_and_processes_are_told_only_when_asked_for() -> None:
    """Ports and pids differ from run to run, so both forms of the table leave them to details()."""
    view = StatusView("The city", CITY)
    for number in ("40001", "40011", "4711"):
        assert number not in repr(view) and number not in view._repr_html_()
    rows = text_cells(view.details())[1:]
    assert rows[0] == ["rides", "1", "ready", "http://127.0.0.1:40011", "4711"]
    assert rows[1] == ["rides", "2", "killed", "http://127.0.0.1:40001", "-"]
    assert rows[2] == ["stations", "1", "crashed", "http://127.0.0.1:40002", "-"]


def test_an_empty_city_says_what_to_type_next() -> None:
    """Before the first start, both forms name the next step."""
    view = StatusView("The city", ())
    assert "lab.start()" in repr(view) and "lab.start()" in view._repr_html_()
