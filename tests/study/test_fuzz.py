"""Command lines of every kind: each runs to its end, or is one clear error with exit code 2."""

import contextlib
import io
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from study.run import main
from tests.conftest import SIDE, TINY, draw_folder

Words = tuple[str, ...]
_GOOD: dict[str, list[str]] = {
    "--mode": ["freeze", "finetune", "lp_ft", "scratch", "freeze finetune", "scratch freeze lp_ft"],
    "--train-ratio": ["0.2", "0.8", "0.4 0.8", "0.8 0.2 0.4", "1e-1"],
    "--lr": ["1e-3", "1e-4 1e-2", "1e-3 1e-2 0.1"],
    "--aux-weight": ["0", "1", "0 0.9", "auto", "0 0.5 auto", "0.25"],
    "--batch-size": ["1", "2", "7", "1000000"],
    "--seeds": ["1", "3"],
    "--metric": ["val_log_loss", "val_accuracy", "val_auroc"],
    "--design": ["joint", "cells"],
    "--objective": ["score", "pareto"],
    "--sampler": ["tpe", "random", "gp", "qmc"],
    "--confirm-seeds": ["1", "2"],
    "--precision": ["auto", "fp32", "bf16"],
    "--seed": ["0", "7", "1073741823"],
    "--split-seed": ["0", "11"],
    "--gpus": ["0"],
    "--trials-per-gpu": ["1"],
    "--max-failures": ["0", "5"],
    "--weights": ["none"],
}
_SWITCHES = ["--hflip", "--no-confirm", "--confirm", "--skip-bad-images", "--offline"]
_ODD = ["", "x", "-1", "0", "nan", "inf", "-inf", "1e400", "0x10", "1.5", "2147483648", "\u0663"]
_ODD += ["../x", "a b", "'", "[red]", "--", "\n", "freeze freeze", "1e-3 1e-3", "0.9 0.1"]
_ODD_FLAGS = [*_GOOD, "--trials", "--epochs", "--image-size", "--backbone", "--data", "--name"]
_ODD_FLAGS += ["--out", "--preset", "--cache", "--tracking-uri", "--resume", "--extend"]
_ODD_FLAGS += ["--replay", "--what"]


@st.composite
def command_lines(draw: st.DrawFn, odd: int) -> Words:
    """Flags and values that fit each other or not, with up to `odd` values that nothing takes."""
    names = draw(st.lists(st.sampled_from(sorted(_GOOD)), max_size=6, unique=True))
    chosen = [(name, draw(st.sampled_from(_GOOD[name]))) for name in names]
    words = [word for name, value in chosen for word in (name, *value.split())]
    words += draw(st.lists(st.sampled_from(_SWITCHES), max_size=2, unique=True))
    for name in draw(st.lists(st.sampled_from(_ODD_FLAGS), max_size=odd, unique=True)):
        value = draw(st.one_of(st.sampled_from(_ODD), st.text(max_size=8)))
        words += [name, *(value.split() or [value])]
    return tuple(words)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("fuzz") / "photos", ("cat", "dog"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz-cache")


def run(words: Words, photos: Path, cache: Path, weights: Path) -> int:
    """Run a command line of small things; return its exit code, which must be a promised one."""
    net = ("--backbone", TINY, "--weights", str(weights), "--image-size", str(SIDE))
    small = ("--epochs", "1", "--data", str(photos), "--name", uuid.uuid4().hex, "--debug")
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:  # What comes later on a command line holds.
            code = main([*net, *small, "--cache", str(cache), *words])
        except SystemExit as ended:  # argparse's way.
            code = int(ended.code or 0)
    assert "Traceback" not in told.getvalue()
    assert code in (0, 2, 3), told.getvalue()
    assert code != 2 or "error: " in told.getvalue()
    event(f"exit code {code}")
    return code


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(words=command_lines(odd=2))
def test_a_single_trial(
    words: Words, photos: Path, cache: Path, tiny_weights: Path, uri: str
) -> None:
    run(words, photos, cache, tiny_weights)
