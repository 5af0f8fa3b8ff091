"""The table of streams and consumers."""

from __future__ import annotations

from lab_services.views import ConsumerFacts, StreamFacts, StreamsView
from tests.views.both_forms import html_cells, soup_of, text_cells

BILLING, STATS = ConsumerFacts("billing", 1204, 2, 3, 1), ConsumerFacts("", 7, 0, 0, 0)
KEPT = (
    StreamFacts("TRIPS", ("trip.>",), "file", 3, 1200, (STATS, BILLING)),
    StreamFacts("DEAD", ("dead.a", "dead.b"), "memory", 1, 0),
)


def test_both_forms_carry_the_same_cells() -> None:
    """Cell for cell, the HTML table says what the plain table says."""
    view = StreamsView("The broker", KEPT)
    assert html_cells(view) == text_cells(view)
    assert soup_of(view).caption.get_text() == str(view).split("\n")[0] == "The broker: 2 streams, 2 consumers"


def test_a_row_tells_how_far_a_consumer_is() -> None:
    """One row a consumer, by name, the nameless last; a stream without any says so; order is the view's."""
    rows = text_cells(StreamsView("The broker", KEPT))[1:]
    assert rows[0] == ["DEAD", "dead.a, dead.b", "memory", "0", "none", "-", "-", "-", "-"]
    assert rows[1] == ["TRIPS", "trip.>", "file, 3 nodes", "1,200", "billing", "1,204", "2", "3", "1"]
    assert rows[2] == ["TRIPS", "trip.>", "file, 3 nodes", "1,200", "without a name", "7", "0", "0", "0"]
    assert repr(StreamsView("The broker", KEPT)) == repr(StreamsView("The broker", KEPT[::-1]))


def test_no_stream_is_said_in_words() -> None:
    """A broker that keeps nothing says what that means, in both forms."""
    assert "no stream" in repr(StreamsView("The broker", ())) and "no stream" in StreamsView("x", ())._repr_html_()
