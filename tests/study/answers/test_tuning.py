"""How many trials a cell had, and whether its learning rate lies at an end of the range."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from study.answers.answer import among
from study.answers.tuning import (
    at_an_end,
    effort,
    few_steps,
    hardly_tuned,
    missing_trials,
    trials_by_cell,
    wider_rates,
)
from study.answers.unconfirmed import no_longer_chosen
from study.config.settings import Settings
from study.records.trial_record import Status, TrialRecord
from study.search.cells import Cell
from study.search.choosing import Choices
from study.search.confirmation import plan
from study.search.sampler import Suggestions
from tests.support.studies.builders import make_record, make_settings
from tl_core.config import Mode


def settings(**given: Any) -> Settings:
    plain = {"data": "photos", "mode": ["freeze", "finetune"], "train_ratio": ["0.1", "0.4"]}
    return make_settings(**(plain | given))


def trials(counts: dict[Cell, int], status: Status = "done") -> list[TrialRecord]:
    """So many trials of each cell."""
    return [
        make_record(i, status, mode=cell.mode, train_ratio=cell.train_ratio)
        for i, cell in enumerate(cell for cell, n in counts.items() for _ in range(n))
    ]


A, B = Cell("freeze", 0.1), Cell("freeze", 0.4)
C, D = Cell("finetune", 0.1), Cell("finetune", 0.4)


def test_what_was_stopped_early_was_tried_and_what_failed_was_not() -> None:
    records = trials({A: 2}) + trials({A: 1, D: 1}, "pruned") + trials({A: 4}, "failed")
    repeat = make_record(99)
    repeat.kind = "repeat"
    counts = trials_by_cell(settings(), [*records, repeat])
    assert counts == {A: 3, B: 0, C: 0, D: 1}


@pytest.mark.parametrize(("given", "counts", "few"), [
    ({}, {A: 8, B: 7, C: 9, D: 8}, {B: 7}),
    # One configuration, or three, need no more trials.
    ({"lr": ["1e-3"], "aux_weight": ["0"]}, {A: 1, B: 1, C: 1, D: 0}, {D: 0}),
    ({"lr": ["1e-3", "1e-4", "1e-5"], "aux_weight": ["0"]}, {A: 3, B: 2, C: 3, D: 3}, {B: 2}),
    ({"lr": ["1e-3", "1e-4", "1e-5"]}, {A: 8, B: 3, C: 8, D: 8}, {B: 3}),
    ({"mode": ["probe"]}, {Cell("probe", 0.1): 1}, {}),
])  # fmt: skip
def test_cells_with_too_few_trials(
    given: dict[str, Any], counts: dict[Cell, int], few: dict[Cell, int]
) -> None:
    assert hardly_tuned(settings(**given), trials(counts)) == few


@pytest.mark.parametrize(("given", "lost", "more"), [
    ({}, {}, None),
    ({}, {D: 2}, 8),  # All cells get ten, of which two have failed here.
    ({}, {A: 1, D: 3}, 12),
    ({"trials": "20"}, {}, 12),
    ({"mode": ["probe", "finetune"]}, {D: 1}, 2),
    ({"lr": ["1e-3", "1e-4", "1e-5"], "aux_weight": ["0"], "trials": "10"}, {}, 2),
    ({"lr": ["1e-3", "1e-4", "1e-5"], "aux_weight": ["0"], "trials": "12"}, {}, None),
    ({"design": "joint"}, {D: 2}, None),
])  # fmt: skip
def test_trials_that_an_extended_study_needs(
    given: dict[str, Any], lost: dict[Cell, int], more: int | None
) -> None:
    """It shares them evenly, and no cell is hardly tuned then."""
    asked, left = settings(**given), Counter(lost)
    records: list[TrialRecord] = []

    def run(trials: int, before: list[TrialRecord]) -> None:
        suggestions = Suggestions(asked.model_copy(update={"trials": trials}), before)
        while suggestions.drawn < trials:
            draw, config = suggestions.ask()
            left[Cell.of(config)] -= 1
            status: Status = "failed" if left[Cell.of(config)] >= 0 else "done"
            record = make_record(len(records), status)
            records.append(replace(record, config=config, draw=draw))
            suggestions.tell(draw, status, 1, 0.25)

    run(asked.trials, [])
    assert missing_trials(asked, records) == more
    if more:
        run(asked.trials + more, [*records])
        assert hardly_tuned(asked, records) == {}


def repeated(
    counts: dict[Cell, int], different: int = 8, ended: int | None = None, **given: Any
) -> list[TrialRecord]:
    """So many trials of each cell, of which so many are different, and the repeats that ended."""
    records = [replace(r, config=r.config.model_copy(update={"lr": 1e-3 * (1 + i % different)}))
               for i, r in enumerate(trials(counts))]  # fmt: skip
    stage = plan(settings(**given), records)
    return records + [
        replace(make_record(100 + i), config=p.config, kind="repeat", source=p.source)
        for i, p in enumerate(stage[:ended])
    ]


@pytest.mark.parametrize(("mode", "records", "n_seeds", "sentence"), [
    (["freeze", "finetune"], repeated({A: 8, B: 8, C: 8, D: 8}), [5, 5],
     "Tuning: 8 trials a cell, then the best 3 on 3 seeds, confirmed on 5 seeds."),
    # There are two different ones, or in one cell; or --max-time gave up the last repeat.
    (["freeze", "finetune"], repeated({A: 8, B: 8, C: 8, D: 8}, 2), [5, 5],
     "Tuning: 8 trials a cell, then the best 2 on 3 seeds, confirmed on 5 seeds."),
    (["freeze", "finetune"], repeated({A: 8, B: 8, C: 2, D: 8}), [5, 5],
     "Tuning: 2 to 8 trials a cell, then the best 2 to 3 on 3 seeds, confirmed on 5 seeds; "
     "fine-tuning with 10 % has too few trials (2)."),
    (["freeze", "finetune"], repeated({A: 8, B: 8, C: 8, D: 8}, 3, -1), [5, 5],
     "Tuning: 8 trials a cell, then in 3 of 4 cells the best 3 on 3 seeds, confirmed on 5 seeds."),
    (["freeze", "finetune"], repeated({A: 8, B: 8, C: 8, D: 8}, 3, 0), [5, 5],
     "Tuning: 8 trials a cell, confirmed on 5 seeds."),
    (["freeze", "finetune"], trials({A: 8, B: 9, C: 3, D: 8}), [1],
     "Tuning: 3 to 9 trials a cell, confirmed on one seed; fine-tuning with 10 % has too few "
     "trials (3)."),
    (["freeze", "finetune"], trials({A: 8, B: 8, C: 8, D: 8}), [2, 5, 4, 5],
     "Tuning: 8 trials a cell, confirmed on 2 to 5 seeds."),
    (["freeze", "finetune"], trials({A: 1, B: 1, C: 3}), [],
     "Tuning: 0 to 3 trials a cell, not confirmed; 4 of 4 cells have too few trials (0 to 3)."),
    (["probe"], trials({Cell("probe", 0.1): 1, Cell("probe", 0.4): 1}), [5],
     "Tuning: 1 trial a cell (a probe takes one: it has no learning rate to search, and its "
     "penalty is chosen on validation images), confirmed on 5 seeds."),
    (["probe"], trials({Cell("probe", 0.1): 2, Cell("probe", 0.4): 2}), [5],
     "Tuning: 2 trials a cell, confirmed on 5 seeds."),
    (["probe", "freeze"], trials({Cell("probe", 0.1): 1, Cell("probe", 0.4): 1}), [],
     "Tuning: no trial with a score in the cells to tune (a probe takes one: it has no learning "
     "rate to search, and its penalty is chosen on validation images), not confirmed; freezing "
     "with 10 % and freezing with 40 % have too few trials (0)."),
    (["freeze", "finetune"], trials({A: 8, B: 2, C: 1, D: 1}), [],
     "Tuning: 1 to 8 trials a cell, not confirmed; freezing with 40 % has too few trials (2), "
     "fine-tuning with 10 % and fine-tuning with 40 % have too few trials (1)."),
    (["probe", "freeze", "finetune"], trials({A: 1, B: 1, C: 3, Cell("probe", 0.1): 1}), [],
     "Tuning: 0 to 3 trials a cell (a probe takes one: it has no learning rate to search, and its "
     "penalty is chosen on validation images), not confirmed; 4 of 4 cells beside the probes have "
     "too few trials (0 to 3)."),
])  # fmt: skip
def test_sentence(
    mode: list[str], records: list[TrialRecord], n_seeds: list[int], sentence: str
) -> None:
    assert effort(settings(mode=mode), records, n_seeds) == sentence


@pytest.mark.parametrize(("given", "mode", "lr", "found"), [
    # finetune: 1e-5 to 1e-2, three decades, of which 0.3 are near an end.
    ({}, "finetune", 1e-5, "10 % (1e-05); --mode finetune --lr 1e-06 0.01 widens it."),
    ({}, "finetune", 1.9e-5, "--mode finetune --lr 1e-06 0.01 widens"),
    ({}, "finetune", 2.1e-5, None),
    ({}, "finetune", 4.9e-3, None),
    ({}, "finetune", 5.1e-3, "10 % (0.0051); --mode finetune --lr 1e-05 0.1 widens it."),
    # freeze: up to 0.1; the other mode needs no wider range.
    ({}, "freeze", 0.09, "freezing with 10 % (0.09); --mode freeze --lr 0.0001 1 widens it."),
    ({}, "probe", None, None),
    ({"lr": ["1e-4", "1e-2"]}, "finetune", 9e-3, "--mode finetune --lr 0.0001 0.1 widens"),
    ({"mode": ["finetune"]}, "finetune", 9e-3, "(0.009); --lr 1e-05 0.1 widens it."),
    ({"lr": ["1e-4", "1e-3", "1e-2"]}, "finetune", 1e-2, None),
    ({"lr": ["1e-3"]}, "finetune", 1e-3, None),
])  # fmt: skip
def test_learning_rate_at_an_end(
    given: dict[str, Any], mode: Mode, lr: float | None, found: str | None
) -> None:
    asked = settings(**({"mode": ["freeze", "finetune", "probe"]} | given))
    sentence = at_an_end(asked, {Cell(mode, 0.1): lr, Cell("finetune", 0.4): 1e-3})
    if found is None:
        assert sentence is None
    else:
        assert sentence is not None
        start = "The best learning rate lies at an end of its range for "
        assert re.fullmatch(f"{start}.*{re.escape(found)}.*", sentence)


def test_a_wider_range_has_round_ends() -> None:
    (found,) = wider_rates(settings(), {Cell("finetune", 0.1): 1e-5})
    assert (found.mode, found.low, found.high) == ("finetune", 1e-6, 1e-2)


def test_each_mode_has_a_wider_range_of_its_own() -> None:
    """Freezing goes up from 0.1 and fine-tuning down from 1e-5, where the other learns nothing."""
    best = {C: 1.2e-5, D: 1.1e-5, B: 0.09}
    freeze, finetune = wider_rates(settings(), best)
    assert (freeze.mode, freeze.low, freeze.high) == ("freeze", 1e-4, 1)
    assert (finetune.mode, finetune.low, finetune.high) == ("finetune", 1e-6, 1e-2)
    assert at_an_end(settings(), best) == (
        "The best learning rate lies at an end of its range for freezing with 40 % (0.09), "
        "fine-tuning with 10 % (1.2e-05) and fine-tuning with 40 % (1.1e-05); --mode freeze --lr "
        "0.0001 1 and --mode finetune --lr 1e-06 0.01 widen it, one study for each mode."
    )
    (both,) = wider_rates(settings(), {C: 1.2e-5, D: 9e-3})
    assert (both.low, both.high) == (1e-6, 0.1)


@pytest.mark.parametrize(("mode", "steps", "taken"), [
    ("finetune", (60, 64), "60 to 64"), ("partial", (199,), "199"), ("finetune", (200, 600), None),
    ("freeze", (20,), None), ("finetune", (None,), None),
])  # fmt: skip
def test_networks_with_few_steps_may_not_have_converged(
    mode: Mode, steps: tuple[int | None, ...], taken: str | None
) -> None:
    records = [make_record(i, mode=mode) for i in range(len(steps))]
    for record, step in zip(records, steps, strict=True):
        record.history[-1] = replace(record.history[-1], step=step)
    sentence = few_steps(records)
    assert (sentence is None) == (taken is None)
    if sentence:
        assert sentence == (
            f"Networks took {taken} steps; with fewer than 200 they may not have converged, and "
            "more may change which mode is best: --min-steps sets this."
        )


@pytest.mark.parametrize(("later", "where"), [
    (0.3, "among the configurations that are chosen now"), (0.1, ""),
])  # fmt: skip
def test_what_was_confirmed_before_the_study_was_extended_is_named(
    later: float, where: str
) -> None:
    given = settings(mode=["finetune"], train_ratio=["0.4"], aux_weight=["0"], confirm_seeds=2)
    records = [make_record(0, log_losses=(0.5,), mode="finetune", train_ratio=0.4, lr=1e-4)]

    def run(losses: dict[int, tuple[float, float]]) -> None:
        """Run the stages; of each source the loss of repeats and that of confirming trials."""
        ended = {(r.kind, r.config) for r in records}
        while left := [p for p in plan(given, records) if (p.kind, p.config) not in ended]:
            for p in left:
                repeat, confirm = losses[p.source or 0]
                loss = repeat if p.kind == "repeat" else confirm
                made = make_record(len(records), log_losses=(loss,))
                made = replace(made, config=p.config, kind=p.kind, source=p.source)
                records.append(replace(made, test={"test_accuracy": 0.9}))
                ended.add((p.kind, p.config))

    run({0: (0.4, 0.2)})
    assert no_longer_chosen(given, records) is None
    new = make_record(len(records), log_losses=(0.4,), mode="finetune", train_ratio=0.4, lr=1e-3)
    records.append(new)
    run({0: (0.4, 0.2), new.trial: (0.35, later)})
    assert no_longer_chosen(given, records) == (
        "Confirmed earlier and no longer chosen: fine-tuning with 40 % at learning rate 0.0001 "
        "(validation log loss 0.200, test accuracy 90.0 %)."
    )
    # The sentence on the winner is true of the others alone.
    assert among(Choices(given, records)) == where
