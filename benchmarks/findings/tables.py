"""The findings as tables: means, paired differences, the auxiliary task."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from benchmarks.common import Row, Tables, figures
from benchmarks.findings.runs import LARGE, SMALL, Finished, Group
from study.analysis.comparisons import difference, mode_differences
from study.analysis.estimates import SCORES, Arm, Cell, Confirmed, Estimate, by_cell, estimate
from tl_core.config import ARTICLE_WIDTHS, MODES, TrialConfig

Run = Sequence[Finished]
"""All seeds of one configuration."""
_DIGITS = 6
"""Of scores that are compared: float32's rounding, in later digits, has the same sign in every seed
and would count as a difference."""


def tables(found: Iterable[Finished]) -> Tables:
    """Every table of the page."""
    runs = by_run(found)
    no_tasks = [run for run in runs if run[0].group != "tasks"]
    return {
        "runs": [_run_row(run) for run in runs],
        "validation accuracy by epoch": [_epochs_row(run) for run in no_tasks],
        "the article's runs compared": _article_differences(runs),
        "modes compared": _mode_differences(runs),
        "with and without brightness": _tasks(runs),
    }


def by_run(found: Iterable[Finished]) -> list[Run]:
    """The trials of each run by seed; runs in the order of the page."""
    runs: dict[tuple[Group, TrialConfig], list[Finished]] = {}
    for f in sorted(found, key=_place):
        runs.setdefault((f.group, f.run), []).append(f)
    return list(runs.values())


def score(run: Run, name: str = "test_accuracy") -> Estimate:
    """The mean of a test score and its interval."""
    return estimate([f.test[name] for f in run], SCORES[name].lowest, SCORES[name].highest)


def format_estimate(e: Estimate, sign: str = "", digits: int = 3) -> str:
    """Mean and interval, as in `0.983 [0.979, 0.987]`."""
    shown = f"{sign}.{digits}f"
    if e.low is None or e.high is None:
        return f"{e.mean:{shown}} (one seed)"
    return f"{e.mean:{shown}} [{e.low:{shown}}, {e.high:{shown}}]"


def is_own(config: TrialConfig) -> bool:
    """Whether the net is one of the article's own."""
    return config.backbone in ARTICLE_WIDTHS


def _place(f: Finished) -> tuple[object, ...]:
    c, order = f.config, get_args(Group).index(f.group)
    mode = MODES.index(c.mode)
    return order, c.train_ratio, is_own(c), c.backbone, mode, c.aux_weight, c.seed


def _run_row(run: Run) -> Row:
    c = run[0].config
    return {
        "group": run[0].group,
        **_conditions(c),
        "train_ratio": c.train_ratio,
        "aux_weight": str(c.aux_weight),
        "lr": str(c.lr),
        "seeds": len(run),
        "test_accuracy": format_estimate(score(run)),
        "test_log_loss": format_estimate(score(run, "test_log_loss")),
        "median_s": figures(statistics.median(f.wall_s for f in run), 2),
    }


def _conditions(c: TrialConfig) -> Row:
    return {"backbone": c.backbone, "mode": c.mode, "side_px": c.image_size, "epochs": c.epochs}


def _epochs_row(run: Run) -> Row:
    c = run[0].config
    picks: dict[str, Callable[[list[float]], float]] = {
        "after_first": lambda accuracy: accuracy[0],
        "after_second": lambda accuracy: accuracy[min(1, len(accuracy) - 1)],
        "after_last": lambda accuracy: accuracy[-1],
        "best_of_all": max,
    }
    means = {
        k: format_estimate(estimate([pick(f.val_accuracy) for f in run], 0, 1))
        for k, pick in picks.items()
    }
    conditions = {"group": run[0].group, **_conditions(c), "train_ratio": c.train_ratio}
    return {**conditions, "seeds": len(run), **means}


def _article_differences(runs: Iterable[Run]) -> list[Row]:
    """The frozen network against the fully connected net, and with many labels against few."""
    trials = [f for run in runs for f in run if f.group == "article"]
    names = {
        Cell(c.mode, c.train_ratio): f"{c.backbone} {c.mode} {c.train_ratio:g}"
        for c in (f.config for f in trials)
    }
    most = Cell("freeze", LARGE)
    pairs = [(most, Cell("scratch", LARGE)), (most, Cell("freeze", SMALL))]
    confirmed = [_confirmed(f) for f in trials]
    return [{"a": names[a], "b": names[b], **_compared(confirmed, a, b)} for a, b in pairs]


def _mode_differences(runs: Iterable[Run]) -> list[Row]:
    trials = [f for run in runs for f in run if f.group == "modes"]
    confirmed = [_confirmed(f) for f in trials]
    (backbone,) = {f.config.backbone for f in trials}
    rows: list[Row] = []
    for pair in mode_differences(confirmed):
        a, b = pair.a, pair.b
        about: Row = {"backbone": backbone, "train_ratio": a.train_ratio, "a": a.mode, "b": b.mode}
        rows.append(about | _compared(confirmed, a, b))
    return rows


def _compared(confirmed: Iterable[Confirmed], a: Cell, b: Cell) -> Row:
    """Score of `a` minus score of `b`, and the verdict on `a`."""
    cells = by_cell(confirmed)
    row: Row = {}
    for name in ("accuracy", "log_loss"):
        found = difference(cells, a, b, f"test_{name}")
        if found is None:
            raise ValueError(f"{a} and {b} have no seed in common")
        row |= {"seeds": found.estimate.n}
        row |= {f"{name}_a_less_b": format_estimate(found.estimate, "+")}
        row |= {f"by_{name}_a_is": found.verdict}
    return row


def _tasks(runs: Sequence[Run]) -> list[Row]:
    """Each net with the auxiliary task against the same without."""
    by_config = {run[0].run: run for run in runs}
    return [
        _task_row(run, by_config[run[0].run.model_copy(update={"aux_weight": 0.0})])
        for run in runs
        if run[0].config.aux_weight != 0
    ]


def _task_row(arm: Run, without: Run) -> Row:
    c = arm[0].config
    (found,) = multi_tasks([*map(_confirmed, arm), *(_confirmed(f, "control") for f in without)])
    accuracy, log_loss = (found.differences[f"test_{name}"] for name in ("accuracy", "log_loss"))
    return {
        **_conditions(c),
        "seeds": accuracy.estimate.n,
        "accuracy_with": format_estimate(score(arm)),
        "accuracy_with_less_without": format_estimate(accuracy.estimate, "+"),
        "log_loss_with_less_without": format_estimate(log_loss.estimate, "+", 4),
        "the_task": found.verdict,
        "brightness_r2_with": format_estimate(score(arm, "test_brightness_r2")),
    }


def _confirmed(f: Finished, arm: Arm = "cell") -> Confirmed:
    """A trial in the form that the study's comparisons take."""
    c = f.config
    return Confirmed(
        mode=c.mode,
        train_ratio=c.train_ratio,
        seed=c.seed,
        scores={name: round(value, _DIGITS) for name, value in f.test.items()},
        trial=c.seed,
        source=c.seed,
        borrowed_from=None,
        aux_weight=c.aux_weight,
        lr=c.lr,
        trials=None,
        arm=arm,
    )
