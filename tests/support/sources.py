"""The project's own code, for tests of what is in it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def files_of(*packages: str) -> list[Path]:
    """Return the Python files of these packages, sorted."""
    return sorted(file for package in packages for file in (ROOT / package).rglob("*.py"))


@cache
def nodes_of(file: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a file's syntax tree; each file is parsed once a process."""
    return (*ast.walk(ast.parse(file.read_text(encoding="utf-8"))),)


def imported(file: Path) -> Iterator[str]:
    """Yield every module that a file imports, lazily or not; `from a import b` gives `a.b`."""
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
