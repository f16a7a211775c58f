"""Command lines of every kind, drawn by hypothesis, and the outcomes that are allowed."""

import contextlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.conftest import draw_folder

Words = tuple[str, ...]
PHOTOS, TABLE = "photos", "photos.csv"
"""A folder of cats and dogs in the working folder, and the same as a manifest."""
GOOD: dict[str, list[str]] = {
    "--data": [PHOTOS, TABLE], "--resize": ["squash", "crop", "pad"],
    "--mode": ["freeze", "probe", "partial", "finetune", "lp_ft", "scratch", "probe finetune",
               "freeze partial", "scratch freeze lp_ft"],
    "--unfreeze": ["1", "2", "1 2"],
    "--train-ratio": ["0.2", "0.8", "0.4 0.8", "0.8 0.2 0.4", "1e-1"],
    "--lr": ["1e-3", "1e-4 1e-2", "1e-3 1e-2 0.1"],
    "--aux": ["brightness", "none", "age", "coat"],
    "--aux-type": ["regression", "classification"], "--aux-on": ["all", "labelled"],
    "--aux-target": ["standardized", "raw"],
    "--aux-weight": ["0", "1", "0 0.9", "auto", "0 0.5 auto", "0.25"],
    "--class-weights": ["none", "balanced"], "--augment": ["none", "flip", "crop", "trivial"],
    "--batchnorm": ["frozen", "train"], "--schedule": ["cosine", "constant"],
    "--weight-decay": ["0", "1e-2"], "--head-lr-ratio": ["1", "10"], "--layer-decay": ["0.5", "1"],
    "--metric": ["val_log_loss", "val_accuracy", "val_auroc", "val_brightness_r2"],
    "--batch-size": ["1", "2", "7", "1000000"], "--seeds": ["1", "3"],
    "--design": ["joint", "cells"], "--objective": ["score", "pareto"],
    "--sampler": ["tpe", "random", "gp", "qmc"], "--confirm-seeds": ["1", "2"],
    "--precision": ["auto", "fp32", "bf16", "fp16"], "--seed": ["0", "7", "1073741823"],
    "--split-seed": ["0", "11"], "--gpus": ["0"], "--trials-per-gpu": ["1"],
    "--jobs": ["1", "2", "64"], "--checkpoint-every": ["0", "1e-3", "30"],
    "--max-time": ["1s", "90m", "1h30m"], "--max-failures": ["0", "5"], "--weights": ["none"],
}  # fmt: skip
_OF_STUDIES = {
    "--metric", "--design", "--objective", "--sampler", "--confirm-seeds", "--max-failures",
    "--trials-per-gpu", "--jobs", "--checkpoint-every", "--max-time",
}  # fmt: skip
SINGLE = {
    name: [value for value in values if " " not in value]
    for name, values in GOOD.items()
    if name not in _OF_STUDIES
}
"""Those that a single trial takes."""
SWITCHES = ["--hflip", "--no-confirm", "--confirm", "--skip-bad-images", "--offline"]
SWITCHES += ["--deterministic"]
_ODD = ["", "x", "-1", "0", "nan", "inf", "-inf", "1e400", "0x10", "1.5", "-1e-3", "\u0663"]
_ODD += ["../x", "a b", "'", "[red]", "--", "\n", "freeze freeze", "1e-3 1e-3", "0.9 0.1"]
_ODD += ["9" * 40 + "d", "x{" + "9" * 20 + "}"]
_HUGE = "2147483648"
_COUNTS = ["--trials", "--epochs", "--seeds", "--confirm-seeds", "--image-size"]
"""Large values take long."""
ODD_FLAGS = [*GOOD, *_COUNTS[:2], "--image-size", "--backbone", "--name", "--out", "--experiment"]
ODD_FLAGS += ["--preset", "--cache", "--tracking-uri", "--resume", "--extend", "--replay"]
ODD_FLAGS += ["--root", "--train", "--val", "--test", "--group", "--group-regex", "--what"]
ODD_FLAGS += ["--include", "--exclude", "--storage"]


def draw_photos(folder: Path) -> None:
    """Draw `PHOTOS`, and list them in `TABLE` with an age that some lack, and a coat."""
    draw_folder(folder / PHOTOS, ("cat", "dog"))
    files = sorted((folder / PHOTOS).glob("*/*"))
    rows = [
        (file.relative_to(folder), file.parent.name, i % 9 or "", ("long", "short")[i % 2])
        for i, file in enumerate(files)
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "age", "coat"])
    table.to_csv(folder / TABLE, index=False)


_ASKED = os.environ.get("TL_STUDY_FUZZ")


def tries(examples: int) -> int:
    """How many command lines to try: `examples`, unless TL_STUDY_FUZZ has another number."""
    return int(_ASKED or examples)


def effort(examples: int, shrink: bool = True) -> settings:
    """Always the same command lines; with TL_STUDY_FUZZ new ones.

    Without `shrink` a failure is reported as found, as each simpler try would take long.
    """
    return settings(
        max_examples=tries(examples), derandomize=not _ASKED, database=None,
        phases=[Phase.generate, *[Phase.shrink] * shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@st.composite
def command_lines(draw: st.DrawFn, odd: int, good: Mapping[str, Sequence[str]] = GOOD) -> Words:
    """Flags and values that fit each other or not, with up to `odd` wrong values."""
    names = draw(st.lists(st.sampled_from(sorted(good)), max_size=6, unique=True))
    chosen = [(name, draw(st.sampled_from(good[name]))) for name in names]
    words = [word for name, value in chosen for word in (name, *value.split())]
    words += draw(st.lists(st.sampled_from(SWITCHES), max_size=2, unique=True))
    for name in draw(st.lists(st.sampled_from(ODD_FLAGS), max_size=odd, unique=True)):
        value = draw(odd_values(name))
        words += [name, *(value.split() or [value])]
    return tuple(words)


def odd_values(name: str) -> st.SearchStrategy[str]:
    """Values that few flags take; no path outside the parent of the working folder."""
    text = st.text(max_size=8).filter(lambda value: not value.strip().startswith(("/", "~")))
    if name not in _COUNTS:
        return st.one_of(st.sampled_from([*_ODD, _HUGE]), text)

    def is_small(value: str) -> bool:
        try:
            return not float(value) > 4
        except ValueError:
            return True

    return st.one_of(st.sampled_from(_ODD), text.filter(is_small))


def outcome(main: Callable[[list[str]], int], words: Sequence[str]) -> tuple[int, str]:
    """Run a command line in this process; return its exit code, a promised one, and its output."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        try:
            code = main(list(words))
        except SystemExit as ended:  # argparse's way.
            code = int(ended.code or 0)
    output = printed.getvalue()
    assert "Traceback" not in output, output
    assert code in (0, 2, 3, 5), output
    assert code != 2 or "error: " in output, output
    return code, output
