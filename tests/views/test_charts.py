"""Pictures of measurements and their text twins."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import pytest
from PIL import Image

from lab_services.views import Chart, latency_chart, ratio_chart
from lab_services.views.charts import LINES, percentile
from tests.views.both_forms import html_of, soup_of, text_cells

FAST = [1.0 + number / 100 for number in range(200)]
SLOW = [10.0 + number for number in range(200)]
RATIOS = {"p50": 1.8, "p99": 4.0}


def _latencies(**series: list[float]) -> Chart:
    return latency_chart("Latency of a ride", series)


def _picture_left_out(html: str) -> str:
    """Do what a comparison of stored outputs does: leave out the two attributes that hold measurements."""
    return re.sub(r'<img alt="[^"]*" src="data:image/png;base64,[^"]*"', "<img", html)


def test_a_chart_is_a_real_picture_with_words_for_it() -> None:
    """The figure holds a PNG that can be opened, an alternative text with the numbers, and the twin below it."""
    chart = _latencies(monolith=FAST, microservices=SLOW)
    image = Image.open(io.BytesIO(chart.png()))
    image.load()
    assert image.format == "PNG" and image.width > 600
    figure = soup_of(chart).figure
    assert figure.figcaption.get_text() == repr(chart)
    assert "monolith: half of the calls within 1.99 ms" in figure.img["alt"] and "209 ms" in figure.img["alt"]


def test_other_measurements_leave_the_compared_part_unchanged() -> None:
    """Two runs differ in the picture and its alternative text, and in nothing that a comparison looks at."""
    one, other = _latencies(monolith=FAST), _latencies(monolith=SLOW)
    assert html_of(one) != html_of(other)
    assert _picture_left_out(html_of(one)) == _picture_left_out(html_of(other))
    assert repr(one) == repr(other)


def test_no_name_can_end_the_attribute_that_holds_the_alternative_text() -> None:
    """Quotes and brackets in a name stay inside the attribute, so the comparison leaves out all of it."""
    hostile = html_of(latency_chart('"><script>', {'"><script>': FAST}, twin="the twin"))
    assert _picture_left_out(hostile) == _picture_left_out(html_of(latency_chart("t", {"n": SLOW}, twin="the twin")))


def test_the_caller_may_give_the_twin() -> None:
    """A twin given is the plain text, word for word."""
    assert repr(ratio_chart("t", RATIOS, twin="Both bars are longer than 1.")) == "Both bars are longer than 1."


def test_the_numbers_of_a_latency_chart_are_told_as_a_table() -> None:
    """Each series has its calls, p50, p90, p99 and slowest call; below 100 calls there is no p99."""
    rows = text_cells(_latencies(fast=FAST, few=[5.0, 7.0]).numbers)
    assert rows[0] == ["series", "calls", "p50", "p90", "p99", "slowest"]
    assert rows[1:] == [["fast", "200", "1.99", "2.79", "2.97", "2.99"], ["few", "2", "5", "7", "-", "7"]]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.9, 90), (0.99, 99), (0.999, 100), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: int) -> None:
    """Nearest rank of 1..100: at least that share of the values is not greater."""
    assert percentile(list(range(1, 101)), share) == value


def test_series_are_told_apart_without_their_colour() -> None:
    """Up to six series differ in their lines as well as in their colours, in both panels, and the legend names them."""
    figure = _latencies(**{f"shape {number}": [number + 1.0, number + 2.0] for number in range(len(LINES))}).figure
    curves = figure.axes[1].get_lines()
    assert len({str(line.get_linestyle()) + str(line._unscaled_dash_pattern) for line in curves}) == len(LINES)
    assert len({line.get_color() for line in curves}) == len(LINES)
    names = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert names == [f"shape {number}" for number in range(len(LINES))]


def test_the_drawn_curve_holds_the_percentiles_of_the_table() -> None:
    """Where the curve passes 99 %, it has reached the p99 of the table."""
    curve = _latencies(slow=SLOW).figure.axes[1].get_lines()[0]
    reached = [value for rare, value in zip(curve.get_xdata(), curve.get_ydata(), strict=True) if rare < 1 / (1 - 0.99)]
    assert reached[-1] == percentile(SLOW, 0.99)


def test_the_histogram_holds_every_call() -> None:
    """The shares of one series add up to 100 %, wherever its values lie."""
    import matplotlib.patches

    for values in (FAST, SLOW, [3.0, 3.0], [0.0], [0.5, 5000.0], [0.0, 1e-9]):
        (patch,) = _latencies(one=values).figure.axes[0].patches
        assert isinstance(patch, matplotlib.patches.Polygon)
        heights = [y for _, y in patch.get_xy()]
        assert sum(heights[1:-1:2]) == pytest.approx(100)


def test_bars_band_and_line_of_no_difference_are_drawn_where_the_numbers_are() -> None:
    """Bars end at their ratios, the published band spans what its source says, a line stands at 1."""
    chart = ratio_chart("With a proxy", RATIOS, band=(1.5, 3.0), source="istio.io")
    (axes,) = chart.figure.axes
    bars = [bar.get_width() for bar in axes.containers[0]]
    assert bars == [1.8, 4.0] and [text.get_text() for text in axes.texts] == ["1.8", "4"]
    (band,) = [patch for patch in axes.patches if patch.get_hatch()]
    assert (band.get_x(), band.get_x() + band.get_width()) == (1.5, 3.0)
    assert list(axes.get_lines()[0].get_xdata()) == [1.0, 1.0]
    assert axes.get_xlim()[0] == 0 and axes.get_xlim()[1] > 4.0
    assert "published: 1.5 to 3 (istio.io)" in repr(chart) and "p99 4" in soup_of(chart).img["alt"]
    assert text_cells(chart.numbers)[1:] == [["p50", "1.8", "yes"], ["p99", "4", "no"]]


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf], [-1.0]])
def test_what_cannot_be_drawn_is_refused_by_name(values: list[float]) -> None:
    """An empty series or one with impossible latencies is named, and so is a ratio that is none."""
    with pytest.raises(ValueError, match="'rides'"):
        latency_chart("x", {"rides": values})
    with pytest.raises(ValueError, match="at least one series"):
        latency_chart("x", {})
    with pytest.raises(ValueError, match="finite"):
        ratio_chart("x", {"a": values[0]} if values else {})


def test_two_names_that_look_the_same_are_refused() -> None:
    """No series is lost because its shortened name is that of another."""
    with pytest.raises(ValueError, match="look the same"):
        ratio_chart("x", {"a" * 50 + "1": 1.0, "a" * 50 + "2": 2.0})


@pytest.mark.parametrize("name", ["$\\frac{", "_hidden", "\u4e2d\u6587", "\N{BICYCLE}"])
def test_any_name_is_drawn_without_a_warning(name: str, capfd: Any) -> None:
    """Mathematics, an underscore or letters that the font lacks neither fail nor print on a learner's screen."""
    chart = latency_chart(name, {name: FAST, "other": SLOW})
    assert chart.png() and ratio_chart(name, {name: 1.0}, band=(1, 2), source=name).png()
    assert len(chart.figure.axes[1].get_legend().get_texts()) == 2
    assert capfd.readouterr() == ("", "")
