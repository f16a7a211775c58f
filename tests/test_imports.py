"""Imports point one way, so that every room can be read, and tested, by what lies below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    {"errors", "signals", "config"},
    {"cluster"},
    {"records"},
    {"search", "tracking"},
    {"intervals"},
    {"analysis", "preflight"},
    {"answers"},
    {"reporting", "diagnosis", "trials"},
    {"execution"},
    {"run", "doctor", "report", "predict", "sync", "manifest"},
)
"""The rooms of `study/`: each imports what stands above it in this list, and its own modules."""
LAYER = {room: i for i, layer in enumerate(LAYERS) for room in layer}
WITHIN_FIRST = {("config", "errors"), ("signals", "errors")}
"""The only imports between rooms of one layer."""


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, lazily or not; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_upward(room: str, other: str) -> bool:
    if other == room or (room, other) in WITHIN_FIRST:
        return False
    return LAYER[other] >= LAYER[room]


@pytest.mark.parametrize("file", modules("study"), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_room_of_the_study_imports_what_lies_below_it(file: Path) -> None:
    room = file.relative_to(ROOT / "study").parts[0].removesuffix(".py")
    others = {name.split(".")[1] for name in imported(file) if name.startswith("study.")}
    assert [other for other in sorted(others) if is_upward(room, other)] == []


def test_a_wrong_direction_is_found() -> None:
    assert is_upward("analysis", "execution")
    assert is_upward("search", "tracking")
    assert not is_upward("execution", "analysis")


FORBIDDEN = {
    "tl_core": {"study", "benchmarks", "tests", "ray", "optuna", "mlflow"},
    "study": {"benchmarks", "tests", "unittest"},
    "tests": {"benchmarks"},
}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_does_not_import(package: str) -> None:
    for file in modules(package):
        names = {name.partition(".")[0] for name in imported(file)}
        assert not names & FORBIDDEN[package], file
