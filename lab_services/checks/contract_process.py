"""The process in which schemathesis runs: it imports and tries everything first, then waits for its arguments.

One line of JSON on its standard input holds the arguments of the command line. At the end of input it ends.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

SMALLEST = {"openapi": "3.1.0", "info": {"title": "", "version": ""}, "paths": {"/": {"get": {"responses": {}}}}}


def main() -> None:
    """Say "ready" when all is imported, and run what is asked then."""
    import schemathesis
    from schemathesis.cli import schemathesis as command_line

    import_module("schemathesis.engine.core")  # these two lines import what the run would import late
    schemathesis.openapi.from_dict(SMALLEST)["/"]["GET"].as_strategy()
    print("ready", flush=True)
    if arguments := sys.stdin.readline():
        command_line(json.loads(arguments))


if __name__ == "__main__":
    main()
