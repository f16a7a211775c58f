import re
from dataclasses import replace

import pytest

from study.analysis.answer import answer, winner
from study.analysis.estimates import Cell, Confirmed
from study.records.trial_record import TrialRecord
from tests.support.studies.builders import make_confirmed, make_epoch, make_record, make_settings
from tl_core.config import Metric, Mode

SUBJECT = "pets (12,000 images) with resnet18"
SETTINGS = make_settings(aux_weight=["0", "0.9"])
WINNER = Cell("finetune", 0.4)
ACCURACIES: dict[tuple[Mode, float], tuple[float, ...]] = {
    ("freeze", 0.1): (0.86, 0.87, 0.88),
    ("freeze", 0.4): (0.90, 0.91, 0.92),
    ("finetune", 0.1): (0.80, 0.81, 0.82),
    ("finetune", 0.4): (0.94, 0.95, 0.96),
    ("scratch", 0.1): (0.50, 0.51, 0.52),
    ("scratch", 0.4): (0.70, 0.71, 0.72),
}
CELLS = [Cell(*cell) for cell in ACCURACIES]


def search(cells: list[Cell] = CELLS, best: Cell = WINNER, **factors: float) -> list[TrialRecord]:
    """A trial a cell; `best` has the least log loss, and all others the same."""
    return [
        make_record(
            i, log_losses=(0.1 if cell == best else 0.2,), mode=cell.mode,
            train_ratio=cell.train_ratio, lr=0.00123, aux_weight=factors.get("aux_weight", 0.5),
        )
        for i, cell in enumerate(cells)
    ]  # fmt: skip


def confirm(
    cells: list[Cell] = CELLS, n: int = 3, control: tuple[float, ...] = ()
) -> list[Confirmed]:
    """`ACCURACIES` on n seeds, and the winner's control."""
    trials = [
        replace(c, source=i, lr=0.00123)
        for i, cell in enumerate(cells)
        for c in make_confirmed(cell.mode, cell.train_ratio, ACCURACIES[cell][:n])
    ]
    return trials + make_confirmed(*WINNER, control, "control", test_brightness_mae=0.3)


def only(mode: Mode) -> list[Cell]:
    return [cell for cell in CELLS if cell.mode == mode]


def answers(records: list[TrialRecord], confirmed: list[Confirmed]) -> tuple[str, str, str]:
    """Each sentence starts with a capital and has one full stop, at its end."""
    found = answer(SUBJECT, SETTINGS, records, confirmed)
    for sentence in found:
        assert re.fullmatch(r"[A-Z](?:[^.!?]|\.(?=\d))*\.", sentence), sentence
        assert not re.search(r"  | ,|\bnan\b|None|inf\b", sentence), sentence
    return found


def test_full_answer() -> None:
    assert answers(search(), confirm(control=(0.93, 0.94, 0.95))) == (
        "On pets (12,000 images) with resnet18, fine-tuning is best at learning rate 0.0012: its "
        "test accuracy (mean and 95 % interval of 3 seeds) is 95.0 % (92.5 to 97.5 %) with 40 % of "
        "the images for training, ahead of freezing by 4.0 points (on every seed) and training "
        "from scratch by 24.0 points (on every seed).",
        "More labels gain 14.0 points (on every seed): fine-tuning goes from 81.0 % (78.5 to "
        "83.5 %) with 10 % of the images to 95.0 % (92.5 to 97.5 %) with 40 %; fine-tuning with "
        "10 % is better than training from scratch with 40 % by 10.0 points (on every seed), and "
        "fine-tuning overtakes freezing at about 23 % (23 % to 23 %).",
        "The auxiliary task helped: predicting brightness too, at weight 0.5 instead of 0, changed "
        "the accuracy of fine-tuning with 40 % of the images by +1.0 points (on every seed), its "
        "log loss by -0.010 (on every seed) and its brightness error by -0.200 (on every seed).",
    )


def test_overlapping_intervals_are_hedged() -> None:
    cells = only("freeze") + only("finetune")
    accuracies = [(0.8, 0.9), (0.9, 0.8), (0.9, 0.8), (0.8, 0.92)]
    trials = [
        replace(c, source=i)
        for i, (cell, values) in enumerate(zip(cells, accuracies, strict=True))
        for c in make_confirmed(*cell, values)
    ]
    control = make_confirmed(*WINNER, (0.9, 0.8), "control")
    first, second, third = answers(search(cells), trials + control)
    assert "fine-tuning scored best in the search at" in first
    assert "not distinguishable from freezing (cheaper) at a difference of 1.0 points (" in first
    assert second.startswith("Whether more labels help is unclear, at a change of +1.0 points (")
    assert second.endswith(
        "; no smaller share is shown to match that within 1 point, and whether one mode overtakes "
        "another is unclear."
    )
    assert third.startswith("The auxiliary task has no clear effect with 2 seeds: predicting")


def test_winner_that_is_behind_on_the_test_set_says_so() -> None:
    best = Cell("freeze", 0.4)
    first, *_ = answers(search(best=best), confirm())
    assert "freezing scored best in the search at" in first
    assert first.endswith(
        "ahead of training from scratch by 20.0 points (on every seed), "
        "but behind fine-tuning by 4.0 points (on every seed)."
    )


def test_few_labels_that_match_the_winners_all() -> None:
    trials = [
        *make_confirmed("freeze", 0.1, (0.9, 0.92)),
        *make_confirmed("finetune", 0.1, (0.5, 0.5)),
        *make_confirmed(*WINNER, (0.9, 0.92)),
    ]
    sourced = [replace(c, source=CELLS.index(c.cell)) for c in trials]
    assert answers(search(), sourced)[1].endswith(
        "; freezing with 10 % matches fine-tuning with 40 % within 1 point, at a difference of "
        "0.0 points (on every seed)."
    )


def test_one_seed() -> None:
    first, _, third = answers(search(), confirm(n=1, control=(0.93,)))
    assert "its test accuracy (no interval, from one seed) is 94.0 % with 40 % of" in first
    assert "not distinguishable from freezing (cheaper) at a difference of 4.0 points" in first
    assert "has no clear effect with one seed" in third


def test_one_mode() -> None:
    first, second, _ = answers(search(only("finetune")), confirm(only("finetune")))
    assert "with resnet18, fine-tuning, the only mode tried, scored best in the search at" in first
    assert first.endswith("with 40 % of the images for training.")
    assert second.endswith("; no smaller share is shown to match that within 1 point.")


def test_one_ratio() -> None:
    cells = [cell for cell in CELLS if cell.train_ratio == 0.4]
    assert answers(search(cells), confirm(cells))[1] == (
        "The gain from more labels is unknown, because fine-tuning has results with only 40 % of "
        "the images."
    )


def test_failed_cells() -> None:
    lost = [Cell("freeze", 0.4), Cell("scratch", 0.4)]
    first, *_ = answers(search(), [c for c in confirm() if c.cell not in lost])
    assert "fine-tuning scored best in the search" in first
    assert first.endswith(", with no result for freezing and training from scratch there.")


def test_winners_cell_failed() -> None:
    first, *_ = answers(search(), [c for c in confirm() if c.cell != WINNER])
    assert "with resnet18, among the confirmed results, freezing is best at" in first


def test_borrowed_settings_are_named() -> None:
    trials = [replace(c, borrowed_from=0.1) if c.mode == "scratch" else c for c in confirm()]
    expected = "and training from scratch (settings borrowed from 10 %) by 24.0 points"
    assert expected in answers(search(), trials)[0]


def test_no_common_seed() -> None:
    trials = [replace(c, seed=9) if c.train_ratio == 0.1 else c for c in confirm(n=1)]
    expected = "Whether more labels help is unknown, because no seed is in both results: "
    assert answers(search(), trials)[1].startswith(expected)


@pytest.mark.parametrize(
    ("aux_weights", "chosen", "end"),
    [
        ((0.3,), 0.3, "helps was not searched: its weight was fixed at 0.3."),
        ((0.0, 0.9), 0.0, "gives it weight 0, so there is nothing to compare."),
        ((0.0, 0.9), 0.5, "gives it weight 0.5, and no control with weight 0 has a result."),
    ],
)
@pytest.mark.parametrize("confirmed", [True, False])
def test_auxiliary_task_without_a_control(
    aux_weights: tuple[float, ...], chosen: float, end: str, confirmed: bool
) -> None:
    trials = [replace(c, aux_weight=chosen) for c in confirm()] if confirmed else []
    settings = SETTINGS.model_copy(update={"aux_weight": aux_weights})
    *_, third = answer(SUBJECT, settings, search(aux_weight=chosen), trials)
    assert third.startswith("Whether the auxiliary task, predicting brightness, helps ")
    assert third.endswith(end)


def test_unconfirmed() -> None:
    records = search([cell for cell in CELLS if cell != Cell("scratch", 0.4)])
    by_cell = {Cell(r.config.mode, r.config.train_ratio): r for r in records}
    by_cell[WINNER].history = [make_epoch(val_log_loss=0.1, val_accuracy=0.95)]
    assert answers(records, []) == (
        "Not confirmed on fresh seeds: on pets (12,000 images) with resnet18, fine-tuning scored "
        "best in the search at learning rate 0.0012, with a validation accuracy (no interval, from "
        "one seed) of 95.0 % with 40 % of the images for training, against 87.5 % for freezing and "
        "no result for training from scratch.",
        "By the same unconfirmed scores, fine-tuning goes from 87.5 % with 10 % of the images to "
        "95.0 % with 40 %; this does not show how many labels can be saved or whether one mode "
        "overtakes another.",
        "Whether the auxiliary task, predicting brightness, helps is unknown: the best "
        "configuration gives it weight 0.5, and no control with weight 0 has a result.",
    )


def test_unconfirmed_with_one_cell() -> None:
    first, second, _ = answers(search([WINNER]), [])
    assert "fine-tuning, the only mode tried, scored best" in first
    assert first.endswith("with 40 % of the images for training.")
    assert second.startswith("The gain from more labels is unknown, because fine-tuning has")


@pytest.mark.parametrize("records", [[], [make_record(0, "failed", ())]])
def test_no_trial_finished(records: list[TrialRecord]) -> None:
    assert answers(records, [])[0] == (
        "There is no answer on pets (12,000 images) with resnet18, because no trial finished."
    )


@pytest.mark.parametrize(
    ("metric", "best"),
    [("val_log_loss", Cell("freeze", 0.1)), ("val_accuracy", Cell("scratch", 0.1))],
)
def test_winner_is_chosen_on_validation_by_direction(metric: Metric, best: Cell) -> None:
    records = search()
    records[0].history = [make_epoch(val_log_loss=0.01, val_accuracy=0.5)]
    records[4].history = [make_epoch(val_log_loss=0.9, val_accuracy=0.9)]
    assert winner(metric, records, confirm()).cell == best


def test_winner_is_not_the_cell_that_borrowed_its_settings() -> None:
    trials = [
        *(replace(c, source=3, borrowed_from=0.4) for c in make_confirmed("finetune", 0.1, [0.9])),
        *(replace(c, source=3) for c in make_confirmed("finetune", 0.4, [0.8])),
    ]
    assert winner("val_log_loss", search(), trials).cell == WINNER
