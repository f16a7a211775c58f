from dataclasses import replace

from study.analysis.estimates import Confirmed, summarize
from study.analysis.findings import Findings
from study.answers.sentences import other_ratios
from study.search.cells import Cell
from tests.support.studies.builders import make_confirmed
from tl_core.config import Mode

AT_01: list[tuple[Mode, tuple[float, ...]]] = [
    ("finetune", (0.80, 0.81, 0.82)), ("freeze", (0.90, 0.92, 0.91)),
    ("scratch", (0.60, 0.61, 0.62)),
]  # fmt: skip
AT_04: list[tuple[Mode, tuple[float, ...]]] = [
    ("finetune", (0.95, 0.96, 0.97)), ("freeze", (0.88, 0.90, 0.89)),
    ("scratch", (0.93, 0.94, 0.935)),
]  # fmt: skip


def confirmed(n: int = 3) -> list[Confirmed]:
    """Freezing is best with 10 % and worst with 40 %; log loss is 1 - accuracy."""
    cells = [(0.1, *cell) for cell in AT_01] + [(0.4, *cell) for cell in AT_04]
    return [c for ratio, mode, x in cells for c in make_confirmed(mode, ratio, x[:n])]


def test_a_mode_that_is_ahead_with_fewer_labels_is_told() -> None:
    trials = confirmed()
    best = next(s for s in summarize(trials) if s.cell == Cell("finetune", 0.4))
    few = {Cell("finetune", 0.1): 2}
    assert other_ratios(best, Findings(trials), few, "val_log_loss") == (
        "By log loss, with 10 % of the images fine-tuning (too few trials: 2) is behind freezing "
        "by 0.100 (0.075 to 0.125); freezing is ahead of training from scratch with 10 % of the "
        "images, and behind with 40 %."
    )
    by_accuracy = other_ratios(best, Findings(trials), {}, "val_accuracy")
    assert by_accuracy.startswith("By accuracy, with 10 % of the images fine-tuning is behind fr")
    by_both = other_ratios(best, Findings(trials), {}, "val_loss")
    assert by_both.startswith("By log loss, with 10 % of the images fine-tuning is behind fr")


def test_the_task_is_compared_at_all_ratios_if_it_was_asked_for() -> None:
    errors = {"finetune": 0.2, "freeze": 0.1, "scratch": 0.3}
    trials = [
        replace(c, scores=c.scores | {"test_brightness_mae": errors[c.mode] + c.seed / 1000})
        for c in confirmed()
    ]
    best = next(s for s in summarize(trials) if s.cell == Cell("finetune", 0.4))
    assert other_ratios(best, Findings(trials), {}, "val_brightness_mae") == (
        "By brightness MAE, with 10 % of the images fine-tuning is behind freezing by 0.100 "
        "(on every seed)."
    )


def test_nothing_is_told_where_the_winner_is_behind_nowhere() -> None:
    trials = [c for c in confirmed() if c.mode != "freeze"]
    best = next(s for s in summarize(trials) if s.cell == Cell("finetune", 0.4))
    assert other_ratios(best, Findings(trials), {}, "val_log_loss") == ""
    # One seed shows nothing about modes.
    one = confirmed(1)
    best = next(s for s in summarize(one) if s.cell == Cell("finetune", 0.4))
    assert other_ratios(best, Findings(one), {}, "val_log_loss") == ""
