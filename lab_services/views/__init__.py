"""What a lab shows: small frozen objects with an HTML form and a plain-text form that say the same.

Text that comes from elsewhere (names, logs, notes) is made visible and escaped. The plain form holds no port, process
number or time unless a method is asked for it, so that the stored outputs of a notebook stay true.
"""

from __future__ import annotations

from .chart import Chart
from .charts import latency_chart, ratio_chart
from .compare import ComparisonTable
from .error_budget import ErrorBudget
from .error_view import ErrorView, error_view
from .logs import LogView
from .mesh import MeshView
from .mesh_costs import MeshCostsView
from .predict import Outcome, Prediction, predict
from .red_panels import RedPanels
from .saga import SagaView
from .saga_sequence import SagaMessage, SagaSequence
from .sequence import Message, SequenceView
from .service_map import ServiceMap
from .status import StatusView
from .streams import ConsumerFacts, StreamFacts, StreamsView
from .telemetry_costs import TelemetryCostsView
from .topology import TopologyView
from .trace import TraceLine, TraceView
from .waterfall import Waterfall

__all__ = [
    "Chart",
    "ComparisonTable",
    "ConsumerFacts",
    "ErrorBudget",
    "ErrorView",
    "LogView",
    "MeshCostsView",
    "MeshView",
    "Message",
    "Outcome",
    "Prediction",
    "RedPanels",
    "SagaMessage",
    "SagaSequence",
    "SagaView",
    "SequenceView",
    "ServiceMap",
    "StatusView",
    "StreamFacts",
    "StreamsView",
    "TelemetryCostsView",
    "TopologyView",
    "TraceLine",
    "TraceView",
    "Waterfall",
    "error_view",
    "latency_chart",
    "predict",
    "ratio_chart",
]
