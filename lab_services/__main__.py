"""Set the course up beside this folder, then hand over to the `course` command.

    python3 -m lab_services open     opens JupyterLab at the first chapter
    python3 -m lab_services test     runs every test

Needs nothing but Python 3.11 or newer: no package is imported before there is an environment that has it.
"""

import sys

from .bootstrap import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
