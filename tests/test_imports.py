"""Imports point one way, so that every room can be read, and tested, by what lies below it."""

from graphlib import TopologicalSorter

import pytest

from tests.support.sources import ROOT, files_of, imported

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
    {"__main__"},
)
"""The rooms of `study/`: each imports what stands above it in this list, and its own modules."""
LAYER = {room: i for i, layer in enumerate(LAYERS) for room in layer}
WITHIN_FIRST = {("config", "errors"), ("signals", "errors")}
"""The only imports between rooms of one layer."""


def is_upward(room: str, other: str) -> bool:
    if other == room or (room, other) in WITHIN_FIRST:
        return False
    return LAYER[other] >= LAYER[room]


def test_a_room_of_the_study_imports_what_lies_below_it() -> None:
    wrong = set()
    for file in files_of("study"):
        room = file.relative_to(ROOT / "study").parts[0].removesuffix(".py")
        others = {name.split(".")[1] for name in imported(file) if name.startswith("study.")}
        wrong |= {f"{file} imports {other}" for other in others if is_upward(room, other)}
    assert wrong == set()


def test_a_wrong_direction_is_found() -> None:
    assert is_upward("analysis", "execution")
    assert is_upward("search", "tracking")
    assert not is_upward("execution", "analysis")


FORBIDDEN = {
    "tl_core": {"study", "benchmarks", "tests", "ray", "optuna", "mlflow"},
    "study": {"benchmarks", "tests", "unittest"},
    "tests": {"benchmarks"},
}


def test_a_package_does_not_import_another() -> None:
    wrong = set()
    for package, forbidden in FORBIDDEN.items():
        for file in files_of(package):
            names = {name.partition(".")[0] for name in imported(file)}
            wrong |= {f"{file} imports {name}" for name in names & forbidden}
    assert wrong == set()


@pytest.mark.parametrize("package", ["tl_core", "study"])
def test_no_modules_import_each_other(package: str) -> None:
    files = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in files_of(package)}
    graph = {
        module: {name for found in imported(file) for name in (found, found.rpartition(".")[0])}
        & (files.keys() - {module})
        for module, file in files.items()
    }
    assert sum(map(len, graph.values())) > 200
    TopologicalSorter(graph).prepare()  # It raises `CycleError`, which names them.
