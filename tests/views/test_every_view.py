"""What holds for every view of the course, whatever it is given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lab_services.errors import ServiceCrashed
from lab_services.measuring import Costs, Round, WayCosts
from lab_services.mesh.facts import (
    ArrowFacts,
    CertificateFacts,
    HostFacts,
    MeshFacts,
    RefusalFacts,
    ReplicaFacts,
)
from lab_services.runtime.states import ReplicaState, ServiceState
from lab_services.telemetry.budget import BudgetFacts, Window
from lab_services.telemetry.red import RedFacts
from lab_services.telemetry.spans import Dependency, Span, Trace
from lab_services.views import (
    ComparisonTable,
    ConsumerFacts,
    ErrorBudget,
    LogView,
    MeshCostsView,
    MeshView,
    RedPanels,
    SagaSequence,
    SagaView,
    SequenceView,
    ServiceMap,
    StatusView,
    StreamFacts,
    StreamsView,
    TelemetryCostsView,
    TopologyView,
    TraceView,
    Waterfall,
    error_view,
    latency_chart,
    predict,
    ratio_chart,
)
from lab_services.views.chart import INK, PAPER
from lab_services.views.charts import LINES
from lab_services.views.html_table import ANY_LENGTH
from lab_services.views.state_words import LOOKS, UNKNOWN
from tests.views.both_forms import HOSTILE, contrast, html_of, is_accessible_table, soup_of, unsafe_characters


def _service(text: str) -> ServiceState:
    replicas = (ReplicaState(1, text, url=text, pid=1), ReplicaState(2, "ready"))
    return ServiceState(text, text, text, needs=(text + "b",), calls=("c" + text,), replicas=replicas, note=text)


def _stream(text: str) -> StreamFacts:
    return StreamFacts(text, (text, "b"), text, 3, 1, (ConsumerFacts(text, 1, 2, 3, 4), ConsumerFacts("b", 0, 0, 0, 0)))


def _mesh(text: str) -> MeshFacts:
    arrow = ArrowFacts(text, text + "b", text, 9, 1, 1, 1, (text,), (HostFacts(1, 9, 1, True),))
    return MeshFacts(
        (ReplicaFacts(text, 1, text, text), ReplicaFacts("b", 1, "ready")),
        (arrow, ArrowFacts("b", text, "b", 0, 0)),
        (CertificateFacts(f"{text}-1", text, "1", 1.0, 3600.0),),
        (RefusalFacts(text, text, 1, True, text),),
    )


def _costs(text: str) -> Costs:
    rounds = (Round(1000, 1.0, 0.2, 0.1),)
    names = enumerate((text, text + "b"))
    return Costs(tuple(WayCosts(name, at, 30.0, 16.0 * at, (1.0, 2.0), (11.0,), rounds) for at, name in names))


def _spans(text: str) -> Trace:
    one = Span(text, text, text, text, 1.0, 2.0, True, span_id="1")
    call = Span(text, text, text, "client", 1.5, 1.0, span_id="2", parent="1")
    other = Span(text + "b", text, text, text, 0.5, 1.0, span_id="3", parent="2")
    return Trace(text, (one, call, other, Span(text, text, text, "client", 0.5, 1.0, span_id="4", parent=text + "?")))


def _panels(text: str) -> RedPanels:
    facts = RedFacts(text, ((0.0, 2.0), (1.0, 4.0)), ((0.0, 0.0), (1.0, 1.0)), ((0.99, ((1.0, 0.02),)),))
    return RedPanels(text, (facts, RedFacts(text + "b", (), (), ())))


def _budget(text: str) -> ErrorBudget:
    return ErrorBudget(text, BudgetFacts(0.99, (Window(text, 10.0, 1.0), Window("b", 0.0, 0.0))))


# Each makes a view in which the text stands wherever text can stand.
VIEWS: dict[str, Callable[[str], Any]] = {
    "status": lambda text: StatusView(text, (_service(text),)),
    "details": lambda text: StatusView(text, (_service(text),)).details(),
    "nothing": lambda text: StatusView(text, ()),
    "topology": lambda text: TopologyView((_service(text),), text),
    "sequence": lambda text: SequenceView(text, [(text, "b", text), ("b", text, text, False)]),
    "saga": lambda text: SagaView(text, ["holding", text], [text]),
    "saga sequence": lambda text: SagaSequence(text, [(text, "b", text), ("b", text, text, True)], 1, text, (text,)),
    "streams": lambda text: StreamsView(text, (_stream(text),)),
    "no streams": lambda text: StreamsView(text, ()),
    "mesh": lambda text: MeshView(text, _mesh(text)),
    "calls of a mesh": lambda text: MeshView(text, _mesh(text)).calls(),
    "certificates": lambda text: MeshView(text, _mesh(text)).certificates(),
    "costs": lambda text: MeshCostsView(_costs(text)),
    "numbers of costs": lambda text: MeshCostsView(_costs(text)).numbers(),
    "published costs": lambda text: MeshCostsView(_costs(text)).published(),
    "costs of telemetry": lambda text: TelemetryCostsView(_costs(text)),
    "numbers of telemetry": lambda text: TelemetryCostsView(_costs(text)).numbers(),
    "waterfall": lambda text: Waterfall(_spans(text), text),
    "times of a waterfall": lambda text: Waterfall(_spans(text), text).times(),
    "no trace": lambda text: Waterfall(Trace(text), text),
    "service map": lambda text: ServiceMap([_spans(text), Dependency(text, "c" + text, 3)], text),
    "times of a service map": lambda text: ServiceMap([_spans(text)], text).times(),
    "red panels": _panels,
    "numbers of red": lambda text: _panels(text).numbers(),
    "error budget": _budget,
    "numbers of a budget": lambda text: _budget(text).numbers(),
    "logs": lambda text: LogView(text, [text, text.encode("utf-8", "surrogateescape")], dropped=3),
    "trace": lambda text: TraceView("r-1", [(text, f"{text} r-1", 1.0)]),
    "compare": lambda text: ComparisonTable(text, (text, "n"), [(text, 1), (text, None)]),
    "error": lambda text: error_view(ServiceCrashed(text, where=text, evidence=text, next_step=text)),
    "predict": lambda text: predict(text, ..., {text: text, "b": text}, {"b": text}),
    "outcome": lambda text: predict(text, "b", {text: text, "b": text}, {"b": text or "why"}).compare(text),
    "number": lambda text: predict(text, 3).compare(4),
    "ratios": lambda text: ratio_chart(text, {text: 1.5}, band=(1.0, 2.0), source=text),
    "latency": lambda text: latency_chart(text, {text: [1.0, 2.0]}),
}
DIAGRAMS = {"topology", "mesh", "sequence", "saga", "saga sequence", "service map"}


@pytest.mark.parametrize("kind", sorted(VIEWS.keys() - DIAGRAMS))
def test_foreign_text_adds_no_element_and_no_attribute(kind: str) -> None:
    """The HTML of a view has the same elements and attributes whatever stands in its text."""
    plain = _skeleton(VIEWS[kind]("plain"))
    for text in HOSTILE:
        if kind == "error" and not text:
            continue  # the empty parts of an error are left out
        assert _skeleton(VIEWS[kind](text)) == plain, repr(text[:40])


@pytest.mark.parametrize("kind", sorted(VIEWS))
def test_no_form_holds_a_raw_control_character(kind: str) -> None:
    """Neither form passes on a character that a terminal or a browser would act on."""
    for text in HOSTILE:
        view = VIEWS[kind](text)
        forms = view._repr_mimebundle_().values() if hasattr(view, "_repr_mimebundle_") else [view._repr_html_()]
        assert not unsafe_characters("\n".join([repr(view), *forms])), repr(text[:40])


@pytest.mark.parametrize("kind", sorted(VIEWS))
def test_a_name_of_ten_thousand_characters_stays_short(kind: str) -> None:
    """Both forms cut an endless text and count what is left out."""
    view = VIEWS[kind]("x" * 10_000)
    forms = view._repr_mimebundle_() if hasattr(view, "_repr_mimebundle_") else {"html": view._repr_html_()}
    without_picture = [form for form in [repr(view), *forms.values()] if "base64," not in form]
    assert all("x" * 600 not in form and "more characters" in form for form in without_picture)


@pytest.mark.parametrize("kind", sorted(VIEWS))
def test_the_same_facts_read_the_same_twice(kind: str) -> None:
    """Two views of the same facts are equal in both forms, so stored outputs stay true."""
    assert repr(VIEWS[kind]("rides")) == repr(VIEWS[kind]("rides"))
    assert str(VIEWS[kind]("rides")) == repr(VIEWS[kind]("rides"))
    if kind in DIAGRAMS:
        assert VIEWS[kind]("rides")._repr_mimebundle_() == VIEWS[kind]("rides")._repr_mimebundle_()
    else:
        assert html_of(VIEWS[kind]("rides")) == html_of(VIEWS[kind]("rides"))


@pytest.mark.parametrize("kind", sorted(VIEWS.keys() - DIAGRAMS))
def test_every_table_has_a_caption_and_scopes(kind: str) -> None:
    """A screen reader hears what a table is about and what each head belongs to; no view brings ids or headings."""
    soup = soup_of(VIEWS[kind]("rides"))
    assert all(is_accessible_table(table) for table in soup.find_all("table"))
    assert not soup.find_all(["h1", "h2", "h3", "style", "script"]) and not soup.select("[id]")


@pytest.mark.parametrize("kind", sorted(VIEWS))
def test_a_view_cannot_be_changed(kind: str) -> None:
    """A view is frozen: what a cell has shown does not change behind its back."""
    view = VIEWS[kind]("rides")
    name = next(iter(view.__dataclass_fields__))
    with pytest.raises(AttributeError):
        setattr(view, name, "something else")


@pytest.mark.parametrize("kind", sorted(VIEWS))
def test_jupyter_gets_both_forms(kind: str) -> None:
    """IPython's own formatter finds the rich form and the plain text of every view."""
    from IPython.core.formatters import DisplayFormatter

    forms, _ = DisplayFormatter().format(VIEWS[kind]("rides"))
    assert forms["text/plain"] == repr(VIEWS[kind]("rides"))
    assert ("text/vnd.mermaid" if kind in DIAGRAMS else "text/html") in forms


def test_every_colour_we_set_can_be_read() -> None:
    """Each badge, each line and the ink of a chart have a contrast of at least 4.5 to 1 on the ground they bring."""
    for look in [*LOOKS.values(), UNKNOWN]:
        assert contrast(look.foreground, look.background) >= 4.5, look
    assert all(contrast(str(colour), PAPER) >= 4.5 for colour, _ in LINES)
    assert contrast(INK, PAPER) >= 4.5


@pytest.mark.parametrize("kind", sorted(VIEWS.keys() - DIAGRAMS))
def test_text_takes_its_colour_from_the_theme(kind: str) -> None:
    """A view sets a fixed colour only together with its ground; all else is the theme's or inherited."""
    for element in soup_of(VIEWS[kind]("rides")).select("[style]"):
        style = dict(part.split(":", 1) for part in str(element["style"]).split(";") if part)
        if "background" in style:
            assert contrast(style["background"], style["color"]) >= 4.5
        else:
            assert style.get("color", "inherit") in {"inherit", "var(--jp-content-font-color1,inherit)"}


def test_each_state_differs_in_sign_and_shape() -> None:
    """Status never hangs on colour alone: signs and node shapes are all different."""
    looks = [*LOOKS.values(), UNKNOWN]
    assert len({look.sign for look in looks}) == len({look.brackets for look in looks}) == len(looks)


def test_views_shorten_before_the_html_does() -> None:
    """The longest line that a view lets through fits the limit of the HTML, so both forms cut at the same place."""
    line = "\u202e" * 5_000
    view = LogView("rides", [line])
    assert len(view.shown()[0]) <= ANY_LENGTH
    assert view.shown()[0] in soup_of(view).get_text()


def test_importing_the_views_loads_neither_matplotlib_nor_the_supervisor() -> None:
    """`import lab_services.views` stays light: pictures and processes come only when asked for."""
    heavy = "{'matplotlib', 'numpy', 'asyncio', 'psutil', 'httpx', 'IPython', 'lab_services.runtime.supervisor'}"
    program = f"import sys, lab_services.views; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def _skeleton(view: Any) -> list[tuple[str, list[str]]]:
    return [(element.name, sorted(element.attrs)) for element in soup_of(view).find_all(True)]
