import re
from dataclasses import replace
from pathlib import Path

import pytest

from study.analysis.estimates import Confirmed
from study.analysis.findings import Findings
from study.analysis.study_data import StudyData
from study.answers.answer import among, answer, shares_taken
from study.answers.labels import more_labels
from study.answers.phrases import (
    change,
    covers,
    enumerate_words,
    percent,
    points,
    seeds,
    share,
    show_weight,
)
from study.intervals.estimate import Estimate
from study.records.trial_record import Status, TrialRecord
from study.search.cells import Cell
from study.search.choosing import Choices
from study.search.confirmation import plan
from tests.study.analysis.test_extrapolation import ON_CURVE, curve
from tests.support.studies.builders import make_confirmed, make_epoch, make_record, make_settings
from tl_core.config import Mode

SUBJECT = "pets (12,000 images) with resnet18"
SETTINGS = make_settings(
    data="photos", mode=["freeze", "finetune", "scratch"], train_ratio=["0.1", "0.4"],
    aux_weight=["0", "0.9"],
)  # fmt: skip
WINNER = Cell("finetune", 0.4)
ACCURACIES: dict[tuple[Mode, float], tuple[float, ...]] = {
    ("freeze", 0.1): (0.86, 0.87, 0.88), ("freeze", 0.4): (0.90, 0.91, 0.92),
    ("finetune", 0.1): (0.80, 0.81, 0.82), ("finetune", 0.4): (0.94, 0.95, 0.96),
    ("scratch", 0.1): (0.50, 0.51, 0.52), ("scratch", 0.4): (0.70, 0.71, 0.72),
}  # fmt: skip
CELLS = [Cell(*cell) for cell in ACCURACIES]


def search(cells: list[Cell] = CELLS, best: Cell = WINNER, **factors: float) -> list[TrialRecord]:
    """A good trial a cell, the least loss that of `best`, and seven bad ones."""
    return [
        make_record(
            i + n * len(cells), log_losses=(0.1 if cell == best and n == 0 else 0.2 + n,),
            mode=cell.mode, train_ratio=cell.train_ratio, lr=0.00123,
            aux_weight=factors.get("aux_weight", 0.5), status="pruned" if n == 7 else "done",
        )
        for n in range(8)
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


def ranking(records: list[TrialRecord], confirmed: list[Confirmed]) -> dict[Cell, float]:
    """The confirmed cells, as if they were on fresh seeds as good as in the search."""
    loss = {Cell.of(r.config): r.value("val_log_loss") or 9.0 for r in records[::-1]}
    cells = dict.fromkeys(c.cell for c in confirmed if c.arm == "cell")
    return {cell: loss[cell] for cell in sorted(cells, key=lambda cell: loss[cell])}


def answers(records: list[TrialRecord], confirmed: list[Confirmed]) -> tuple[str, ...]:
    """Each sentence starts with a capital and ends with a full stop."""
    found = answer(SUBJECT, SETTINGS, records, Findings(confirmed), ranking(records, confirmed))
    for sentence in found:
        assert re.fullmatch(r"[A-Z](?:[^.!?]|\.(?=\d)|\. (?=[A-Z]))*\.", sentence), sentence
        assert not re.search(r"  | ,|\bnan\b|None|inf\b", sentence), sentence
    return found


def test_full_answer() -> None:
    assert answers(search(), confirm(control=(0.93, 0.94, 0.95))) == (
        "Fine-tuning at learning rate 0.0012 is best on pets (12,000 images) with resnet18. Its "
        "test accuracy is 95.0 % (92.5 to 97.5 %) with 40 % of the images for training. It is "
        "ahead of freezing by 4.0 points (on every seed) and training from scratch by 24.0 points "
        "(on every seed). By log loss, with 10 % of the images fine-tuning is behind freezing by "
        "0.060 (on every seed).",
        "More labels gain 14.0 points (on every seed): fine-tuning goes from 81.0 % (78.5 to "
        "83.5 %) with 10 % of the images to 95.0 % (92.5 to 97.5 %) with 40 %. Fine-tuning with "
        "10 % is no worse than training from scratch with 40 %, at a difference of +10.0 points "
        "(on every seed). Fine-tuning overtakes freezing with about 23 % of the images "
        "(23 % to 23 %).",
        "The auxiliary task, predicting brightness, helped. In fine-tuning with 40 % of the "
        "images, at weight 0.5 it changed the log loss (lower is better) by -0.010 (on every seed) "
        "and the accuracy by +1.0 points (on every seed), compared with weight 0 at the same "
        "learning rate. The task was learned (mean error 0.100 on a scale of 0 to 1, R2 0.50 (on "
        "every seed)).",
        "Scores are means of 3 seeds, with 95 % intervals on these test images.",
        "Tuning: 8 trials a cell, confirmed on 3 seeds.",
    )


def matched() -> list[Confirmed]:
    """Freezing with few labels is as good as the winner."""
    cells = [*make_confirmed("freeze", 0.1, (0.9, 0.92)), *make_confirmed(*WINNER, (0.9, 0.92))]
    cells += make_confirmed("finetune", 0.1, (0.5, 0.5))
    return [replace(c, source=CELLS.index(c.cell)) for c in cells]


def hedged() -> list[Confirmed]:
    """The intervals overlap."""
    accuracies = [(0.8, 0.9), (0.9, 0.8), (0.9, 0.8), (0.8, 0.92)]
    pairs = enumerate(zip(CELLS, accuracies, strict=False))
    trials = [replace(c, source=i) for i, (cell, x) in pairs for c in make_confirmed(*cell, x)]
    return trials + make_confirmed(*WINNER, (0.9, 0.8), "control")


def without(*lost: tuple[Mode, float]) -> list[Confirmed]:
    return [c for c in confirm() if c.cell not in lost]


TUNED = [cell for cell in CELLS if cell.mode == "finetune"]
AT_04 = [cell for cell in CELLS if cell.train_ratio == 0.4]
NO_RATIO = "The gain from more labels is unknown, because fine-tuning has results with only 40 % of"


@pytest.mark.parametrize(("records", "confirmed", "parts"), [
    (search(CELLS[:4]), hedged(), [
        "Fine-tuning at learning rate 0.001 scored best by validation log loss (0.100 on 2 fresh "
        "seeds, next freezing with 0.200) on pets",
        "It is not distinguishable from freezing at a difference of 1.0 points (",
        "Whether more labels help is unclear, at a change of +1.0 points (",
        "The auxiliary task, predicting brightness, has no clear effect with 2 seeds. In fine-",
    ]),
    (search(best=Cell("freeze", 0.4)), confirm(), [
        "Freezing at learning rate 0.0012 scored best by validation log loss (0.100 on 3 fresh "
        "seeds, next fine-tuning with 0.200) on pets",
        "It is ahead of training from scratch by 20.0 points (on every seed). It is behind "
        "fine-tuning by 4.0 points (on every seed).",
    ]),
    (search(), matched(), [". Freezing with 10 % matches fine-tuning with 40 % within 1 point, at "
                           "a difference of 0.0 points (on every seed)."]),
    (search(), confirm(n=1, control=(0.93,)), [
        "Its test accuracy is 94.0 % with 40 % of", "Scores are of one seed, without interval.",
        "One seed does not show whether modes differ: the difference of these networks from "
        "freezing is 4.0 points and from training from scratch is ",
        "One seed does not show whether more labels help, at a change of +",
        "has no clear effect with one seed",
    ]),
    (search(TUNED), confirm(TUNED), [
        "Fine-tuning at learning rate 0.0012, the only mode tried, scored best by validation",
        "with 40 % of the images for training.",
    ]),
    (search(AT_04), confirm(AT_04), [f"{NO_RATIO} the images."]),
    (search(), without(("freeze", 0.4), ("scratch", 0.4)), [
        "Fine-tuning at learning rate 0.0012 scored best by validation log loss",
        "With 40 % of the images there is no confirmed result for freezing and training from "
        "scratch.",
    ]),
    (search(), [replace(c, borrowed_from=0.1) if c.mode == "scratch" else c for c in confirm()],
     ["and training from scratch (settings borrowed from 10 %) by 24.0 points"]),
    (search(), [replace(c, seed=9) if c.train_ratio == 0.1 else c for c in confirm(n=1)],
     ["Whether more labels help is unknown, because no seed is in both results: "]),
    (search([WINNER]), [], ["fine-tuning, the only mode with results so far, scored best",
                            NO_RATIO, "with 40 % of the images for training."]),
    *((records, [], ["There is no answer on pets (12,000 images) with resnet18, because no trial "
                     "finished."]) for records in ([], [make_record(0, "failed", ())])),
])  # fmt: skip
def test_parts(records: list[TrialRecord], confirmed: list[Confirmed], parts: list[str]) -> None:
    found = "\n".join(answers(records, confirmed))
    assert [part for part in parts if part not in found] == []


def test_a_mode_that_waits_for_its_confirmation_is_told_apart() -> None:
    trials = without(("scratch", 0.4))
    facts = (SUBJECT, SETTINGS, search(), Findings(trials), ranking(search(), trials))
    yet = "With 40 % of the images there is no confirmed result yet for training from scratch."
    assert yet in answer(*facts, unfinished=True)[0]
    assert yet.replace(" yet", "") in answer(*facts)[0]


@pytest.mark.parametrize(("weights", "chosen", "end"), [
    ((0.3,), 0.3, "helps was not searched: its weight was fixed at 0.3."),
    ((0.0, 0.9), 0.0, "gives it weight 0, and no confirming trials compare that with "
                      "a weight above 0."),
    ((0.0, 0.9), 0.5, "gives it weight 0.5, and no confirming trials compare that "
                      "with weight 0."),
])  # fmt: skip
def test_no_control(weights: tuple[float, ...], chosen: float, end: str) -> None:
    settings = SETTINGS.model_copy(update={"aux_weight": weights})
    for trials in ([replace(c, aux_weight=chosen) for c in confirm()], []):
        records = search(aux_weight=chosen)
        third = answer(SUBJECT, settings, records, Findings(trials), ranking(records, trials))[2]
        assert third.startswith("Whether the auxiliary task, predicting brightness, helps ")
        assert third.endswith(end)


def test_no_control_of_frozen_heads() -> None:
    settings = SETTINGS.model_copy(update={"aux_weight": (0.0, 0.9)})
    records = search(best=Cell("freeze", 0.4))
    for trials in (confirm(), []):
        third = answer(SUBJECT, settings, records, Findings(trials), ranking(records, trials))[2]
        assert third.endswith(
            " helps is unknown: the best configuration is freezing, which it can't change, and no "
            "confirming trials compare another with and without it."
        )


def test_what_more_labels_would_buy() -> None:
    mode: Mode = "freeze"
    trials = curve(ON_CURVE)
    found = more_labels(mode, Findings(trials))
    assert found is not None
    # By hand 0.73 and 1.25 points; the second may be rounded up or down.
    given = "With twice the labels of 64 % of the images, freezing is expected to gain 0.7 points ("
    assert found.startswith(given)
    assert re.search(r"\), and with four times 1\.[23] points \(", found)
    assert found.endswith("), if its curve goes on as it did.")
    flat = more_labels(mode, Findings(curve((20, 20, 20, 20))))
    assert flat is not None
    assert "is not shown to gain, at 0.0 points (-" in flat
    assert more_labels(mode, Findings(curve(ON_CURVE, seeds=1))) is None
    records = [make_record(i, mode=mode, train_ratio=c.train_ratio) for i, c in enumerate(trials)]
    settings = SETTINGS.model_copy(update={"mode": (mode,)})
    winner = Cell(mode, 0.64)
    _, labels, _, _, tuning = answer(SUBJECT, settings, records, Findings(trials), {winner: 0.1})
    assert tuning.startswith("Tuning: ")
    assert labels.endswith(f". {found}")


def test_unconfirmed() -> None:
    records = search([cell for cell in CELLS if cell != Cell("scratch", 0.4)])
    best = min(records, key=lambda r: r.value("val_log_loss") or 9)
    best.history = [make_epoch(val_log_loss=0.1, val_accuracy=0.95)]
    assert answers(records, []) == (
        "Not confirmed on fresh seeds: on pets (12,000 images) with resnet18, fine-tuning scored "
        "best in the search by validation log loss at learning rate 0.0012, with a validation "
        "accuracy (no interval, from one seed) of 95.0 % with 40 % of the images for training, "
        "against 87.5 % for freezing and no result for training from scratch.",
        "By the same unconfirmed scores, fine-tuning goes from 87.5 % with 10 % of the images to "
        "95.0 % with 40 %; this does not show how many labels can be saved or whether one mode "
        "overtakes another.",
        "Whether the auxiliary task, predicting brightness, helps is unknown: the best "
        "configuration gives it weight 0.5, and no confirming trials compare that with weight 0.",
        "Tuning: 0 to 8 trials a cell, not confirmed; training from scratch with 40 % has too "
        "few trials (0).",
    )


def test_the_score_that_was_asked_for_is_told_unconfirmed() -> None:
    asked = SETTINGS.model_copy(update={"metric": "val_balanced_accuracy"})
    records = search()
    best = max(records, key=lambda r: r.config.train_ratio)
    best.history = [make_epoch(val_balanced_accuracy=0.95)]
    first, labels, *_ = answer(SUBJECT, asked, records, Findings([]), {})
    assert "best in the search by validation balanced accuracy (95.0 %) at learning rate" in first
    assert " goes from 81.2 % with 10 % of the images to 95.0 % with 40 %, in balanced" in labels


def probed(records: list[TrialRecord]) -> list[TrialRecord]:
    """The same, with probes for frozen trials: one of each."""
    kept = [r for r in records if r.config.mode != "freeze" or r.trial < len(CELLS)]
    return [
        make_record(r.trial, log_losses=(r.value("val_log_loss") or 0,), mode="probe",
                    train_ratio=r.config.train_ratio) if r.config.mode == "freeze" else r
        for r in kept
    ]  # fmt: skip


def test_a_probe_has_no_learning_rate() -> None:
    trials = [replace(c, mode="probe", lr=None) if c.mode == "freeze" else c for c in confirm()]
    records = probed(search(best=Cell("freeze", 0.4)))
    given = SETTINGS.model_copy(update={"mode": ("probe", "finetune", "scratch")})
    first, *_, last = answer(SUBJECT, given, records, Findings(trials), ranking(records, trials))
    assert first.startswith(
        "A linear probe scored best by validation log loss (0.100 on 3 fresh seeds, next "
        f"fine-tuning with 0.200) on {SUBJECT}. Its test acc"
    )
    assert last == (
        "Tuning: 8 trials a cell (a probe takes one: it has no learning rate to search, and its "
        "penalty is chosen on validation images), confirmed on 3 seeds."
    )
    unconfirmed, *_ = answer(SUBJECT, given, records, Findings([]), {})
    assert "a linear probe scored best in the search by validation log loss, with a" in unconfirmed


GAIN = Estimate(0.012, 0.003, 0.021, 5)


def test_numbers_in_words() -> None:
    assert percent(Estimate(0.983, 0.971, 0.99, 5)) == "98.3 % (97.1 to 99.0 %)"
    assert points(GAIN) == "1.2 points (0.3 to 2.1)"
    assert points(GAIN, "+") == "+1.2 points (+0.3 to +2.1)"
    assert points(-GAIN) == "-1.2 points (-2.1 to -0.3)"
    assert change(Estimate(-0.0123, -0.0204, -0.004, 5)) == "-0.012 (-0.020 to -0.004)"
    e = Estimate(0.5, None, None, 1)
    assert (percent(e), points(-e), change(e)) == ("50.0 %", "-50.0 points", "+0.500")
    assert percent(Estimate(1, 1, 1, 5)) == "100.0 % (on every seed)"
    assert points(Estimate(0.05, 0.05, 0.05 + 1e-17, 5)) == "5.0 points (on every seed)"
    assert points(Estimate(-1e-5, -1e-4, 1e-4, 5)) == "0.0 points (0.0 to 0.0)"
    assert points(Estimate(0, 0, 0, 5, images=60)) == "0.0 points (on every image)"


def on_photos(n: int) -> Estimate:
    return Estimate(0.9, 0.8, 1, n, images=60)


@pytest.mark.parametrize(("scores", "words"), [
    ([on_photos(5)] * 2, "means of 5 seeds, with 95 % intervals on new photos."),
    ([on_photos(5), on_photos(2)], "means of 2 to 5 seeds, with 95 % intervals on new photos."),
    ([on_photos(5), on_photos(1)],
     "means of 1 to 5 seeds, with 95 % intervals on new photos; with one seed, of this network."),
    ([on_photos(1)], "of one seed, with 95 % intervals of this network on new photos."),
    ([Estimate(0.9, 0.8, 1, 5)], "means of 5 seeds, with 95 % intervals on these test images."),
    ([Estimate(0.9, 0.8, 1, 5), on_photos(5)],
     "means of 5 seeds, with 95 % intervals on new photos; of 1 cell, whose outputs are missing, "
     "on these test images."),
    ([Estimate(0.9, None, None, 1), Estimate(0.9, 0.8, 1, 3), on_photos(3), on_photos(1)],
     "means of 1 to 3 seeds, with 95 % intervals on new photos; with one seed, of this network; of "
     "2 cells, whose outputs are missing, on these test images where there are two seeds or more."),
    ([on_photos(1), Estimate(0.9, None, None, 1)],
     "of one seed, with 95 % intervals of this network on new photos; 1 cell, whose outputs are "
     "missing, has none."),
    ([Estimate(0.9, None, None, 1), Estimate(0.9, 0.8, 1, 3)],
     "means of 1 to 3 seeds, with 95 % intervals on these test images where there are two seeds "
     "or more."),
    ([Estimate(0.9, None, None, 1)], "of one seed, without interval."),
])  # fmt: skip
def test_what_an_interval_is_about(scores: list[Estimate], words: str) -> None:
    assert covers(scores) == f"Scores are {words}"


@pytest.mark.parametrize(("accuracy", "failed", "said"), [
    # Of the two, training from scratch is worse on validation, and better where it failed once.
    (0.9, 0, ""), (0.1, 0, ""), (0.9, 1, ""),
    (0.1, 1, "among the cells that finished on all seeds"),
    (0.1, 2, "among the cells that finished on the most seeds"),
])  # fmt: skip
def test_a_mean_that_lacks_a_seed_is_told(accuracy: float, failed: int, said: str) -> None:
    given = make_settings(
        data="photos", mode=["freeze", "scratch"], train_ratio=["0.4"], confirm_seeds=3
    )
    lost = {"freeze": max(0, failed - 1), "scratch": failed}
    losses = {"freeze": 0.5, "scratch": accuracy}
    searched = {m: make_record(i, mode=m, train_ratio=0.4) for i, m in enumerate(given.mode)}
    records = [*searched.values()]
    for config, kind, source in ((p.config, p.kind, p.source) for p in plan(given, records)):
        lost[config.mode] -= 1
        status: Status = "failed" if lost[config.mode] >= 0 else "done"
        epochs = [make_epoch(val_log_loss=losses[config.mode])] * (status == "done")
        records.append(TrialRecord(len(records), config, status, epochs, kind=kind, source=source))
    choices = Choices(given, records)
    assert choices.ranking[0].mode == ("scratch" if (accuracy, failed) == (0.1, 0) else "freeze")
    assert among(choices) == said
    assert choices.unconfirmed == []
    stopped = Choices(given, records[:-1])
    assert [cell.mode for cell in stopped.unconfirmed] == ["scratch"]
    if accuracy > 0.5:
        assert among(stopped) == "among the confirmed results"


def test_which_cells_the_winner_is_the_best_of() -> None:
    confirmed = without(WINNER)
    facts = (SUBJECT, SETTINGS, search(), Findings(confirmed), ranking(search(), confirmed))
    first, *_ = answer(*facts, among="among the confirmed results")
    assert first.startswith(
        f"Freezing at learning rate 0.0012 is best on {SUBJECT}, among the confirmed results. Its "
    )


def test_shares_counts_weights_and_lists() -> None:
    assert [share(x) for x in (0.01, 0.125, 0.8, 0.07)] == ["1 %", "12.5 %", "80 %", "7 %"]
    assert (seeds(1), seeds(5)) == ("one seed", "5 seeds")
    assert [show_weight(x, ".2g") for x in ("auto", 0.3125, 0.0)] == ["auto", "0.31", "0"]
    assert [enumerate_words([*"abc"[:n]]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def test_what_was_hardly_tuned_is_told_where_it_is_compared() -> None:
    records = [r for r in search() if r.config.mode != "freeze" or r.trial < 3 * len(CELLS)]
    first, *_, tuning = answers(records, confirm())
    assert "ahead of freezing (too few trials: 3) by 4.0 points" in first
    assert tuning.endswith("; freezing with 10 % and freezing with 40 % have too few trials (3).")
    records = [r for r in search() if Cell.of(r.config) != TUNED[0] or r.trial < 3 * len(CELLS)]
    _, labels, *_ = answers(records, confirm())
    assert "to 97.5 %) with 40 %. Tuning may be a part of this: with 10 % it had too few" in labels


def test_a_best_learning_rate_at_an_end_of_its_range_is_told() -> None:
    trials = [replace(c, lr=0.0098) if c.mode == "finetune" else c for c in confirm()]
    # Of the best of a few trials it says nothing, confirmed or not.
    few = [r for r in search() if r.trial < 3 * len(CELLS)]
    for record in few:
        record.config = record.config.model_copy(update={"lr": 0.0098})
    for confirmed in (trials, []):
        *_, last = answers(few, confirmed)
        assert last.startswith("Tuning: ")
    *_, last = answers(search(), trials)
    assert last == (
        "The best learning rate lies at an end of its range for fine-tuning with 10 % (0.0098) and "
        "fine-tuning with 40 % (0.0098); --mode finetune --lr 1e-05 0.1 widens it."
    )


def test_a_mode_of_which_no_trial_ran_is_told_first_and_no_other_is_called_best() -> None:
    records = [r for r in search() if r.config.mode != "scratch"]
    tried = [c for c in confirm() if c.mode != "scratch"]
    none = "Training from scratch has not been tried: none of its 16 trials has run. "
    first, *_ = answers(records, tried)
    assert first.startswith(f"{none}Fine-tuning at learning rate 0.0012 scored best by validation ")
    assert answers(records, [])[0].startswith(f"{none}Not confirmed on fresh seeds: on ")


def test_shares_that_whole_groups_miss_are_told() -> None:
    about = {"groups_by": "farm", "classes": {"a": 200, "b": 200}, "images": 400}
    sizes = {"train_0.1": 41, "train_0.3": 105.6, "train_0.8": 300}
    data = StudyData(Path(), {"data": about, "mean_train_sizes": sizes}, [])
    vars(data).update(settings=make_settings(train_ratio=["0.8", "0.3", "0.1"]))
    assert shares_taken(data) == (
        "Training images are whole groups, so on the mean over seeds 30 % of the images is 26.4 % "
        "and 80 % of the images is 75 %."
    )
    sizes |= {"train_0.3": 121, "train_0.8": 320}
    assert shares_taken(data) is None, "half an image of each class is rounding"
    sizes["train_0.8"] = 300
    del about["groups_by"]
    assert shares_taken(data) is None
