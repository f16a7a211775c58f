"""Command lines of every kind: each runs to its end, or is one clear error with exit code 2."""

import uuid
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from study import run
from study.config.settings import Settings, flag
from tests.conftest import SIDE, TINY
from tests.support.studies.command_lines import (
    GOOD,
    ODD_FLAGS,
    PHOTOS,
    SINGLE,
    SWITCHES,
    Words,
    command_lines,
    draw_photos,
    effort,
    outcome,
    tries,
)
from tests.support.words import latest

ANY = st.one_of(command_lines(odd=2), command_lines(odd=0, good=SINGLE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `PHOTOS`."""
    root = tmp_path_factory.mktemp("fuzz")
    draw_photos(root)
    return root


@pytest.fixture
def before(folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Words:
    """What each command line begins with: one small trial. What comes later on it holds."""
    monkeypatch.chdir(folder)
    net = ("--backbone", TINY, "--weights", str(tiny_weights), "--image-size", str(SIDE))
    small = ("--epochs", "1", "--min-steps", "0", "--data", PHOTOS, "--cache", "cache")
    return (*net, *small, "--debug")


def test_every_flag_is_tried() -> None:
    """Apart from those that take minutes, look for a cluster, or are set by the tests."""
    flags = {flag(name) for name in Settings.model_fields}
    left_out = {"--compile", "--address", "--min-steps", "--debug"}
    assert flags - {*GOOD, *SWITCHES, *ODD_FLAGS} == left_out


@pytest.mark.parametrize("examples", [20, pytest.param(60, marks=pytest.mark.fuzz)])
def test_checks_find_the_faults_of_every_command_line(
    examples: int, before: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_run_study", lambda *_: 0)

    @effort(examples)
    @given(words=ANY)
    def each(words: Words) -> None:
        event(f"exit code {outcome(run.main, latest((*before, *words)))[0]}")

    each()


@pytest.mark.parametrize(("examples", "more"), [
    (3, ("--offline",)),  # MLflow takes longer than the trial.
    pytest.param(80, (), marks=[pytest.mark.fuzz, pytest.mark.timeout(5 * tries(80))]),
])  # fmt: skip
def test_a_single_trial_ends_as_promised(examples: int, more: Words, before: Words) -> None:
    @effort(examples)
    @given(words=ANY)
    def each(words: Words) -> None:
        outcome(run.main, latest((*before, *more, "--name", uuid.uuid4().hex, *words)))

    each()
