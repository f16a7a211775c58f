"""The findings as tables: means, paired differences, both recipes, the auxiliary task.

All intervals are those of a study: 95 %, on new photos (other seeds and other test images).
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import get_args

import numpy as np

from benchmarks.common import Row, Tables, figures
from benchmarks.findings.recipes import RECIPES, SEEDS, chosen
from benchmarks.findings.runs import LARGE, SMALL, Finished, Group
from study.analysis.comparisons import Difference, difference, mode_differences, multi_tasks
from study.analysis.estimates import Arm, Confirmed, by_cell, estimate_score
from study.analysis.images.image_scores import ImageScores
from study.intervals.estimate import Estimate
from study.search.cells import Cell
from tl_core.config import MODES, Mode, TrialConfig
from tl_core.models.article import ARTICLE_WIDTHS

Run = Sequence[Finished]
"""All seeds of one configuration."""
Tuned = dict[tuple[float, Mode], dict[Group, Run]]
"""By ratio and mode: for each recipe its chosen configuration on every seed."""
_DIGITS = 6
"""Of scores that are compared: float32's rounding, in later digits, has the same sign in every seed
and would count as a difference."""


def findings_tables(found: Iterable[Finished], tuned: Tuned) -> Tables:
    """The article's runs, and those with and without brightness; `tuned` has some of the latter."""
    runs = by_run(found)
    article = [run for run in runs if run[0].group == "article"]
    return {
        "runs": [_run_row(run) for run in article],
        "validation accuracy by epoch": [_epochs_row(run) for run in article],
        "the article's runs compared": _article_differences(article),
        "with and without brightness": _tasks(runs, tuned),
    }


def recipes_tables(tuned: Tuned) -> Tables:
    """Each mode under both recipes, and the modes of the new one compared."""
    return {
        "accuracy": [_recipes_row(ratio, mode, found) for (ratio, mode), found in tuned.items()],
        "modes compared": _mode_differences(tuned),
    }


def by_run(found: Iterable[Finished]) -> list[Run]:
    """The trials of each run by seed; runs in the order of the page."""
    runs: dict[tuple[Group, TrialConfig], list[Finished]] = {}
    for f in sorted(found, key=_place):
        runs.setdefault((f.group, f.run), []).append(f)
    return list(runs.values())


def tuned_cells(done: Sequence[Finished]) -> Tuned:
    """Return the configurations that validation chose and that have every seed."""
    cells: Tuned = {}
    for best in chosen(done):
        same = [f for f in done if (f.group, f.run) == (best.group, best.run)]
        if {f.config.seed for f in same} == {*SEEDS}:
            at = (best.config.train_ratio, best.config.mode)
            cells.setdefault(at, {})[best.group] = sorted(same, key=lambda f: f.config.seed)
    return dict(sorted(cells.items(), key=lambda item: (item[0][0], MODES.index(item[0][1]))))


def score(run: Run, name: str = "test_accuracy", minus: Run = ()) -> Estimate:
    """The mean of a test score, or of its paired difference, with its interval."""
    return estimate_score(name, [*map(_confirmed, run)], [*map(_confirmed, minus)])


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
        **_conditions(c),
        "lr": str(c.lr),
        "seeds": len(run),
        "test_accuracy": format_estimate(score(run)),
        "test_log_loss": format_estimate(score(run, "test_log_loss")),
        "median_s": figures(statistics.median(f.wall_s for f in run), 2),
    }


def _conditions(c: TrialConfig) -> Row:
    return {
        "backbone": c.backbone,
        "mode": c.mode,
        "train_ratio": c.train_ratio,
        "side_px": c.image_size,
        "epochs": c.epochs,
    }


def _epochs_row(run: Run) -> Row:
    """Means over seeds, with the lowest and the highest seed: what happened on these images."""
    picks: dict[str, Callable[[list[float]], float]] = {
        "after_first": lambda accuracy: accuracy[0],
        "after_second": lambda accuracy: accuracy[min(1, len(accuracy) - 1)],
        "after_last": lambda accuracy: accuracy[-1],
        "best_of_all": max,
    }
    row: Row = {**_conditions(run[0].config), "seeds": len(run)}
    for name, pick in picks.items():
        values = [pick(f.val_accuracy) for f in run]
        row[name] = f"{statistics.fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
    return row


def _article_differences(runs: Iterable[Run]) -> list[Row]:
    """The frozen network against the fully connected net, and with many labels against few."""
    trials = [f for run in runs for f in run]
    names = {
        Cell(c.mode, c.train_ratio): f"{c.backbone} {c.mode} {c.train_ratio:g}"
        for c in (f.config for f in trials)
    }
    most = Cell("freeze", LARGE)
    pairs = [(most, Cell("scratch", LARGE)), (most, Cell("freeze", SMALL))]
    cells = by_cell(map(_confirmed, trials))
    return [
        {"a": names[a], "b": names[b], **_columns(by_score)}
        for a, b in pairs
        if (by_score := [difference(cells, a, b, f"test_{s}") for s in ("accuracy", "log_loss")])
    ]


def _mode_differences(tuned: Tuned) -> list[Row]:
    trials = [_confirmed(f) for found in tuned.values() for f in found.get("new recipe", ())]
    accuracy, log_loss = (
        mode_differences(trials, f"test_{name}") for name in ("accuracy", "log_loss")
    )
    return [
        {"train_ratio": a.a.train_ratio, "a": a.a.mode, "b": a.b.mode, **_columns((a, b))}
        for a, b in zip(accuracy, log_loss, strict=True)
    ]


def _columns(by_score: Iterable[Difference | None]) -> Row:
    row: Row = {}
    for d in filter(None, by_score):
        name = d.score.removeprefix("test_")
        row |= {f"{name}_a_less_b": format_estimate(d.estimate, "+")}
        row |= {f"by_{name}_a_is": d.verdict}
    return row


def _recipes_row(ratio: float, mode: Mode, found: dict[Group, Run]) -> Row:
    row: Row = {"train_ratio": ratio, "mode": mode}
    for recipe in RECIPES:
        run, name = found.get(recipe, []), recipe.replace(" ", "_")
        row |= {f"{name}_lr": str(run[0].config.lr or "") if run else ""}
        row |= {name: format_estimate(score(run)) if run else ""}
    both = [found[recipe] for recipe in RECIPES if recipe in found]
    gain = score(both[1], minus=both[0]) if len(both) == len(RECIPES) else None
    return row | {"new_less_old": format_estimate(gain, "+") if gain else ""}


def _tasks(runs: Sequence[Run], tuned: Tuned) -> list[Row]:
    """Each net with the auxiliary task against the same without."""
    without = [*runs, *(run for found in tuned.values() for run in found.values())]
    by_config = {run[0].run: run for run in without}
    return [
        _task_row(run, by_config[run[0].run.model_copy(update={"aux_weight": 0.0})])
        for run in runs
        if run[0].config.aux_weight != 0
    ]


def _task_row(arm: Run, without: Run) -> Row:
    (found,) = multi_tasks([*map(_confirmed, arm), *(_confirmed(f, "control") for f in without)])
    accuracy, log_loss = (found.differences[f"test_{name}"] for name in ("accuracy", "log_loss"))
    unsure = found.verdict == "not learned" and found.may_be_learned
    return {
        **_conditions(arm[0].config),
        "seeds": accuracy.estimate.n,
        "accuracy_with": format_estimate(score(arm)),
        "accuracy_with_less_without": format_estimate(accuracy.estimate, "+"),
        "log_loss_with_less_without": format_estimate(log_loss.estimate, "+", 4),
        "the_task": "not shown to be learned" if unsure else found.verdict,
        "brightness_r2": f"{found.skill.mean:.2f}",
    }


def _confirmed(f: Finished, arm: Arm = "cell") -> Confirmed:
    """A trial in the form that the study's statistics take."""
    c = f.config
    values = {
        "test_accuracy": np.array([int(hit) for hit in f.right], dtype=float),
        "test_log_loss": f.test_log_losses,
    }
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
        images=ImageScores(np.zeros(len(f.right)), np.empty(0), values),
    )


def ratios_of(tuned: Tuned) -> list[float]:
    """The ratios, in order."""
    return [ratio for ratio, _ in groupby(ratio for ratio, _ in tuned)]
