"""Command lines of every kind: each runs to its end, or is one clear error with exit code 2."""

import uuid
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from study.run import main
from tests.conftest import SIDE, TINY, draw_folder
from tests.support.studies.command_lines import SINGLE, Words, command_lines, effort, outcome, tries


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("fuzz") / "photos", ("cat", "dog"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz-cache")


@pytest.mark.timeout(5 * tries(40))
@effort(40)
@given(words=st.one_of(command_lines(odd=2), command_lines(odd=0, good=SINGLE)))
def test_a_single_trial(
    words: Words, photos: Path, cache: Path, tiny_weights: Path, uri: str
) -> None:
    net = ("--backbone", TINY, "--weights", str(tiny_weights), "--image-size", str(SIDE))
    small = ("--epochs", "1", "--data", str(photos), "--name", uuid.uuid4().hex, "--debug")
    # What comes later on a command line holds.
    code, _ = outcome(main, (*net, *small, "--cache", str(cache), *words))
    event(f"exit code {code}")
