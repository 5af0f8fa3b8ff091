"""An error budget: what share of it is spent, and how fast it burns, window by window."""

from __future__ import annotations

from dataclasses import dataclass

from ..telemetry.budget import BudgetFacts
from .chart import INK, Chart, paper, quiet_drawing
from .charts import LINES
from .compare import ComparisonTable, three_digits
from .plain_text import visible
from .red_panels import order

SPENT = ((0.0, "untouched"), (1.0, "spent in part"), (float("inf"), "overspent"))
BURNS = (
    (0.0, "nothing fails"),
    (1.0, "slower than allowed"),
    (10.0, "up to 10 times as fast as allowed"),
    (float("inf"), "more than 10 times as fast as allowed"),
)


@dataclass(frozen=True, repr=False)
class ErrorBudget:
    """The budget of one objective. The words give orders, `numbers()` and `picture()` what was measured."""

    title: str
    facts: BudgetFacts

    def __repr__(self) -> str:
        return repr(self._orders())

    def _repr_html_(self) -> str:
        return self._orders()._repr_html_()

    def _orders(self) -> ComparisonTable:
        facts = self.facts
        rows = [(w.name, _word(facts.burn_rate(w), BURNS)) for w in facts.windows]
        spent = f"budget: {_word(facts.spent, SPENT)}"
        return ComparisonTable(f"{self._head()}; {spent}", ("window", "burns"), rows)

    def _head(self) -> str:
        return f"{visible(self.title)}: {three_digits(100 * self.facts.objective)} % good"

    def numbers(self) -> ComparisonTable:
        """Return what was measured, one row a window, the last for the whole."""
        rows = [
            (w.name, w.events, w.bad, 100 * (1 - w.bad / w.events) if w.events else None, self.facts.burn_rate(w))
            for w in self.facts.windows
        ]
        spent = self.facts.spent
        said = "no events" if spent is None else f"{three_digits(100 * spent)} % of the budget spent"
        return ComparisonTable(f"{self._head()}; {said}", ("window", "events", "bad", "good, %", "burn rate"), rows)

    def picture(self) -> Chart:
        """Draw the burn rate of each window as a bar, and a line where the budget would last exactly."""
        names = [visible(window.name, 20) for window in self.facts.windows]
        rates = [self.facts.burn_rate(window) or 0.0 for window in self.facts.windows]
        with quiet_drawing():
            figure, (axes,) = paper(self._head(), columns=1, height=1.6 + 0.5 * len(names))
            bars = axes.barh(range(len(names)), rates, color=LINES[0][0], height=0.55)
            axes.bar_label(bars, [three_digits(rate) for rate in rates], padding=4, color=INK)
            axes.axvline(1.0, color=INK, linestyle="--", linewidth=1.5, label="1: the budget lasts exactly")
            axes.set_yticks(range(len(names)), names)
            axes.invert_yaxis()
            axes.margins(x=0.15)
            axes.set_xlim(left=0)
            axes.set_xlabel("burn rate", color=INK)
            figure.legend(frameon=False, labelcolor=INK, loc="outside lower left")
        twin = f"{self._head()}: a bar for the burn rate of each window ({', '.join(names)})"
        words = ", ".join(f"{name} {three_digits(rate)}" for name, rate in zip(names, rates, strict=True))
        return Chart(figure, twin, f"{twin}. {words}", self.numbers())


def _word(value: float | None, steps: tuple[tuple[float, str], ...]) -> str:
    return "no events" if value is None else order(value, steps)
