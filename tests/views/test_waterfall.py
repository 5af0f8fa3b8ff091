"""The waterfall of a trace: order and nesting in text, moments in pictures, and what is wrong in words."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from xml.etree import ElementTree

from lab_services.telemetry.spans import Span, Trace
from lab_services.views import Waterfall
from lab_services.views.chart import PAPER
from lab_services.views.waterfall import INDENTS, ROWS
from tests.views.both_forms import contrast, html_cells, soup_of, text_cells

START = 1_800_000_000.0
ROOT = Span("gateway", "gateway-1", "POST /rides", "server", START, 0.1, span_id="1")
CALL = Span("gateway", "gateway-1", "POST", "client", START + 0.01, 0.08, span_id="2", parent="1")
RIDES = Span("rides", "rides-1", "POST /rides", "server", START + 0.02, 0.06, error=True, span_id="3", parent="2")
SECOND = Span("gateway", "gateway-1", "GET", "client", START + 0.095, 0.001, span_id="4", parent="1")
TRACE = Trace("abc", (ROOT, CALL, RIDES, SECOND))
TEXT = """\
One ride: 4 spans, 2 services, 1 error
step  under  service  span             kind    note
----  -----  -------  ---------------  ------  -----
   1      -  gateway  POST /rides      server
   2      1  gateway  \u00b7 POST           client
   3      2  rides    \u00b7 \u00b7 POST /rides  server  error
   4      1  gateway  \u00b7 GET            client"""


def test_the_text_shows_order_nesting_and_errors_and_no_time() -> None:
    """The same trace at another moment, twice as slow and under other ids reads the same."""
    assert repr(Waterfall(TRACE, "One ride")) == TEXT
    later = [
        replace(span, start=2 * span.start, seconds=2 * span.seconds, span_id=f"x{span.span_id}", parent=parent)
        for span in TRACE.spans
        for parent in [f"x{span.parent}" if span.parent else ""]
    ]
    assert repr(Waterfall(Trace("def", tuple(later)), "One ride")) == TEXT


def test_both_forms_carry_the_same_cells() -> None:
    """The HTML has the cells of the text, and a picture besides."""
    view = Waterfall(TRACE, "One ride")
    assert [row[:-1] for row in html_cells(view)] == text_cells(view)
    assert soup_of(view).caption.get_text() == "One ride: 4 spans, 2 services, 1 error"


def bars(view: Waterfall) -> list[tuple[str, float, float, str]]:
    """Return alternative text, left end, width and colour of each bar."""
    found = []
    for image in soup_of(view).find_all("img"):
        picture = base64.b64decode(str(image["src"]).removeprefix("data:image/svg+xml;base64,"))
        *_, bar = ElementTree.fromstring(picture)
        found.append((str(image["alt"]), float(bar.attrib["x"]), float(bar.attrib["width"]), bar.attrib["fill"]))
    return found


def test_bars_show_when_and_stand_in_images_only() -> None:
    """Left end and width in percent of the trace; what differs between runs is in `alt` and `src` alone."""
    drawn = bars(Waterfall(TRACE))
    assert [(round(left), round(width)) for _, left, width, _ in drawn] == [(0, 100), (10, 80), (20, 60), (95, 1)]
    assert drawn[1][0] == "from 10 to 90 percent of the trace"
    assert len({colour for *_, colour in drawn}) == 2 and drawn[2][3] != drawn[0][3]
    assert all(contrast(colour, PAPER) >= 4.5 for *_, colour in drawn)
    slower = Trace("abc", (ROOT, replace(CALL, seconds=0.02), RIDES, SECOND))
    shapes = {re.sub(r'(alt|src)="[^"]*"', "", Waterfall(each)._repr_html_()) for each in (TRACE, slower)}
    assert len(shapes) == 1


def test_times_have_the_numbers() -> None:
    """Begin and duration in ms, and the share of the whole."""
    rows = text_cells(Waterfall(TRACE).times())
    assert rows[0] == ["step", "service", "span", "begins at, ms", "takes, ms", "share, %"]
    assert rows[2] == ["2", "gateway", "POST", "10", "80", "80"]
    instant = Waterfall(Trace("abc", (replace(ROOT, seconds=0.0),)))
    assert text_cells(instant.times())[1][3:] == ["0", "0", "-"] and len(bars(instant)) == 1


def test_what_is_wrong_is_said_in_words() -> None:
    """Orphans, a child before its parent, spans in a circle, two roots and none."""
    early = replace(RIDES, start=START - 0.5, error=False)
    stray = replace(SECOND, parent="99")
    text = repr(Waterfall(Trace("abc", (early, ROOT, CALL, stray))))
    assert text.startswith("Trace: 4 spans, 2 services, 1 orphan\n")
    assert "server  begins before its parent: clocks differ, or it is the wrong one" in text
    assert "client  orphan: its parent is missing" in text
    circle = Trace("abc", (replace(ROOT, parent="2"), CALL))
    assert repr(Waterfall(circle)).count("its parents form a circle") == 1
    assert repr(Waterfall(circle)).startswith("Trace: 2 spans, 1 service, no root\n")
    two = Trace("abc", (ROOT, replace(ROOT, span_id="5")))
    assert repr(Waterfall(two)).startswith("Trace: 2 spans, 1 service, 2 roots\n")


def test_every_bar_stays_on_its_paper() -> None:
    """A child hours before its parent stretches the picture, and no bar leaves it."""
    skewed = Trace("abc", (replace(RIDES, start=START - 7200), ROOT, CALL, SECOND))
    assert all(left >= 0 and left + width <= 100.01 for _, left, width, _ in bars(Waterfall(skewed)))


def test_a_trace_of_5000_spans_is_cut_and_counted() -> None:
    """Deep as well as wide: the first rows are shown, the depth is a number, errors are counted in all of it."""
    deep = [ROOT, *(replace(CALL, span_id=str(at), parent=str(at - 1), error=True) for at in range(2, 5001))]
    text = repr(Waterfall(Trace("abc", tuple(deep))))
    assert text.startswith("Trace: 5,000 spans, 1 service, 4,999 errors, the first 200 shown\n")
    assert len(text.split("\n")) == ROWS + 3
    last = text.split("\n")[-1]
    assert "(199 deep) POST" in last and last.count("\u00b7") == INDENTS
    wide = [ROOT, *(replace(CALL, span_id=str(at)) for at in range(2, 5001))]
    assert len(soup_of(Waterfall(Trace("abc", tuple(wide)))).find_all("img")) == ROWS


def test_a_trace_that_has_not_arrived_says_so() -> None:
    """No empty table."""
    assert repr(Waterfall(Trace("abc"))) == "Trace: no span has arrived"
    assert soup_of(Waterfall(Trace("abc"))).get_text() == "Trace: no span has arrived"
