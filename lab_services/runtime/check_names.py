"""Find the names of a lab's checks without running or importing its test files."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

from lab_services.errors import SpecError


def check_names(folder: Path) -> frozenset[str]:
    """Return the test functions of every test_*.py in the lab folder, methods of Test classes included.

    Raises:
        SpecError: a file cannot be parsed, or two checks have one name (one of them would never be judged).
    """
    seen: dict[str, str] = {}
    for path in sorted(folder.glob("test_*.py")):
        for function in _tests(_tree(path)):
            place = f"{path.name} line {function.lineno}"
            if function.name in seen:
                raise SpecError(
                    f"two checks are called {function.name}",
                    where=f"labs/{folder.name}",
                    evidence=f"{seen[function.name]} and {place}",
                    next_step="rename one of them",
                )
            seen[function.name] = place
    return frozenset(seen)


def _tree(path: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tests say what Python warns of; reading a lab does not
            return ast.parse(path.read_bytes(), filename=path.name)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise SpecError(
            f"{path.name} is not Python: {error}", where=f"labs/{path.parent.name}/{path.name}{line}",
            next_step="mend that line and save",
        ) from None  # fmt: skip
    except OSError as error:
        raise SpecError(
            f"{path.name} cannot be read", where=f"labs/{path.parent.name}", evidence=str(error),
            next_step="check its permissions",
        ) from None  # fmt: skip


def _tests(tree: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    found: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            found.append(node)
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            found.extend(_tests(node))
    return found
