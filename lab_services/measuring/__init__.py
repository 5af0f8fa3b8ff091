"""What calls cost that reach the same answer by different ways: measured in turn, in a process of its own.

`measured(ways)` runs the program; `Way` says how a call goes, `Costs` what was found. Knows nothing of a lab.
"""

from __future__ import annotations

from .facts import Costs, Round, WayCosts
from .ways import Way, measured

__all__ = ["Costs", "Round", "Way", "WayCosts", "measured"]
