"""Look at the machine before a lab does, and name the command that mends each thing that is not as it should be.

from lab_services.doctor import examine
examine()
"""

from __future__ import annotations

from .examination import examine
from .finding import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "examine"]
