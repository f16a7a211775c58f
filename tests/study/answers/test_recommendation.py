"""What to do, in a few sentences."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.analysis.estimates import Confirmed
from study.analysis.study_data import StudyData
from study.answers.limits import resolution
from study.answers.phrases import covers
from study.answers.recommendation import recommendation
from study.answers.sentences import best_mode
from study.reporting.comparison_tables import difference_table
from study.reporting.label_section import cell_table
from study.search.cells import Cell
from study.search.confirmation import plan
from tests.study.analysis.test_extrapolation import ON_CURVE, curve
from tests.support.studies.builders import make_confirmed, make_record, make_settings
from tests.support.studies.image_tables import seen
from tl_core.config import Metric, Mode

NET, PROBE, FREEZE = Cell("lp_ft", 0.4), Cell("probe", 0.4), Cell("freeze", 0.4)


def data(
    ranking: list[Cell], confirmed: list[Confirmed], trained: Sequence[Cell] = (), **given: Any
) -> StudyData:
    records: list[Any] = []
    for cell in trained:
        own = {"min_steps": 0, **given} | ({"aux_weight": 0.0} if cell.mode == "probe" else {})
        record = make_record(mode=cell.mode, train_ratio=cell.train_ratio, **own)
        record.kind = "confirm"
        records.append(record)
    # No mode of the settings below is untried.
    records += [make_record(9, status="failed", mode=mode) for mode in ("freeze", "finetune")]
    found = StudyData(Path(), {"data": {"images": 1000}}, records)
    vars(found).update(
        ranking=ranking, confirmed=confirmed, is_split=False,
        # It does not ask for the cells of the tests, which then need no search.
        settings=make_settings(aux_weight=["0"], train_ratio=["0.1"]),
    )  # fmt: skip
    return found


def hits(accuracy: float, n: int = 200, seeds: int = 3) -> np.ndarray:
    return np.tile(np.arange(n) < round(accuracy * n), (seeds, 1)).astype(float)


@pytest.mark.parametrize(("rival", "said"), [
    # Features of 500 images; with them, 3 passes of 2 x 400 and twice 100 to validate.
    (0.9, "Freezing is not distinguishable from it, and about 6 times cheaper to train."),
    (0.5, "Freezing is 40.0 points behind, and about 6 times cheaper to train."),
    (1.0, "Freezing is 10.0 points ahead, and about 6 times cheaper to train."),
])  # fmt: skip
def test_a_network_is_compared_with_the_best_frozen_mode(rival: float, said: str) -> None:
    confirmed = [*seen(*NET, hits(0.9)), *seen(*FREEZE, hits(rival)), *seen(*PROBE, hits(0.7))]
    found = recommendation(data([NET, FREEZE, PROBE], confirmed, [NET, FREEZE]))
    start = (
        "Use fine-tuning after the heads (lp_ft) at learning rate 0.001, with 40 % of the images "
        "for training. Expect an accuracy of 90.0 % ("
    )
    assert found.startswith(start)
    assert found.endswith(f" on new photos. {said}")


def test_the_best_of_many_cells_may_be_worse_than_its_networks() -> None:
    cells = [Cell("freeze", ratio) for ratio in (0.1, 0.2, 0.3, 0.5, 0.6, 0.8)]
    trials = [c for cell in cells for c in seen(*cell, hits(0.9))]
    found = recommendation(data([cells[-1]], trials, cells))
    why = "as this is the best of 6 cells on the same seeds."
    assert f" on new photos. It may be a little worse, {why}" in found
    few = recommendation(data([cells[-1]], trials[3:], cells[1:]))
    assert "It may be a little worse" not in few


@pytest.mark.parametrize(("rival", "said"), [
    (0.7, "27.0 points behind with this one seed"), (0.99, "2.0 points ahead with this one seed"),
    (0.97, "as good with this one seed"),
    (0.9697, "less than 0.1 points behind with this one seed"),
])  # fmt: skip
def test_one_seed_tells_a_gap_of_this_one_seed(rival: float, said: str) -> None:
    cells = ((NET, 0.97), (FREEZE, rival))
    confirmed = [c for cell, x in cells for c in seen(*cell, hits(x, 4000, 1), ranked=False)]
    found = recommendation(data([NET, FREEZE], confirmed, [NET, FREEZE]))
    assert " Expect an accuracy of 97.0 % (96.4 to 97.5 %) on new photos, for this one " in found
    assert found.endswith(f" network. Freezing is {said}, and about 6 times cheaper to train.")


@pytest.mark.parametrize(("freeze", "probe", "said"), [
    (0.9, 0.9, "Freezing and a linear probe are not distinguishable from it, and cheaper to train"),
    (0.9, 1.0, "Freezing is not distinguishable from it, and cheaper to train. A linear probe is "
               "10.0 points ahead, and cheaper to train"),
    (0.5, 0.9, "Freezing is 40.0 points behind, and cheaper to train. A linear probe is not "
               "distinguishable from it, and cheaper to train"),
    (0.9, 0.5, "Freezing is not distinguishable from it, and cheaper to train"),
])  # fmt: skip
def test_all_frozen_modes_that_are_not_behind_are_named(
    freeze: float, probe: float, said: str
) -> None:
    part = Cell("partial", 0.4)
    rivals = [*seen(*FREEZE, hits(freeze)), *seen(*PROBE, hits(probe))]
    found = recommendation(data([part, FREEZE, PROBE], [*seen(*part, hits(0.9)), *rivals]))
    assert found.endswith(f" on new photos. {said}.")


@pytest.mark.parametrize(("cell", "weights", "chosen", "said"), [
    (NET, ("0", "0.9"), 0.72, " at learning rate 0.001 and auxiliary weight 0.72, with 40 %"),
    (NET, ("0", "0.9"), 0.0, " at learning rate 0.001 and without the auxiliary task, with 40 %"),
    (NET, ("0.72",), 0.72, " at learning rate 0.001 and auxiliary weight 0.72, with 40 %"),
    (NET, ("0",), 0.0, " at learning rate 0.001, with 40 %"),
    (FREEZE, ("0", "0.9"), 0.72, " at learning rate 0.001, with 40 %"),
])  # fmt: skip
def test_the_auxiliary_weight_of_a_network_is_named(
    cell: Cell, weights: tuple[str, ...], chosen: float, said: str
) -> None:
    study = data([cell], [replace(c, aux_weight=chosen) for c in seen(*cell, hits(0.9))])
    vars(study).update(settings=make_settings(mode=[cell.mode], aux_weight=[*weights]))
    assert said in recommendation(study)


@pytest.mark.parametrize(("stages", "said"), [
    (["1", "2"], "Use partial fine-tuning of the last 2 stages at learning rate"),
    (["2"], "Use partial fine-tuning at learning rate"),
])  # fmt: skip
def test_the_stages_that_learn_are_named_if_they_were_searched(
    stages: list[str], said: str
) -> None:
    part = Cell("partial", 0.4)
    study = data([part], seen(*part, hits(0.9)))
    vars(study).update(settings=make_settings(mode=["partial"], unfreeze=stages, aux_weight=["0"]))
    study.records.append(make_record(0, mode="partial", train_ratio=0.4, unfreeze=2))
    assert said in recommendation(study)


@pytest.mark.parametrize(("about", "times"), [
    # With a given validation part: features of 1,300 images; with them, 3 passes of 2 x 400
    # and twice 900 to validate.
    ({"split_sizes": {"val": 900, "train_0.4": 400}}, "4"),
    # Groups are whole: features of 850; with them, 3 passes of 2 x 750 and twice 100.
    ({"split_sizes": {"val": 100, "train_0.4": 750}}, "7"),
])  # fmt: skip
def test_the_images_of_the_study_are_counted(about: dict[str, Any], times: str) -> None:
    confirmed = [*seen(*NET, hits(0.9)), *seen(*FREEZE, hits(0.9))]
    study = data([NET, FREEZE], confirmed, [NET, FREEZE])
    study.study.update(about)
    end = f"Freezing is not distinguishable from it, and about {times} times cheaper to train."
    assert recommendation(study).endswith(end)


@pytest.mark.parametrize(("frozen", "given", "known", "times"), [
    # 400 images have a class label, and 400 others teach: features of 800 and of 100 to validate.
    # The network needs them too, 3 passes of 2 x 400 images and of 26 x 32 others, and twice 100.
    (PROBE, {"aux_on": "all", "aux_weight": 0.5}, 1000, "7"),  # 5996 / 900
    # A quarter of the others have a label: features of 500 and of 100.
    (PROBE, {"aux_on": "all", "aux_weight": 0.5}, 250, "9"),  # 5696 / 600
    (FREEZE, {"aux_on": "all", "aux_weight": 0.5}, 250, "9"),
    # At weight 0 no others count, but those that a probe solves: 900 + 2400 + 200, and 500.
    (FREEZE, {"aux_on": "all", "aux_weight": 0.0}, 1000, "7"),
    (FREEZE, {"aux_on": "labelled", "aux_weight": 0.5}, 1000, "6"),  # 3100 / 500
    # With mirror images: 900 + 2400 + 200, and 900.
    (FREEZE, {"augment": "flip"}, 1000, "4"),
])  # fmt: skip
def test_all_images_that_heads_learn_from_are_counted(
    frozen: Cell, given: dict[str, Any], known: int, times: str
) -> None:
    confirmed = [*seen(*NET, hits(0.9)), *seen(*frozen, hits(0.9))]
    study = data([NET, frozen], confirmed, [NET, frozen], **given)
    study.study["data"]["aux"] = {"images": known}
    assert recommendation(study).endswith(f", and about {times} times cheaper to train.")


def test_the_share_of_a_network_that_learns_in_part_is_not_counted() -> None:
    part = Cell("partial", 0.4)
    confirmed = [*seen(*part, hits(0.9)), *seen(*FREEZE, hits(0.9))]
    found = recommendation(data([part, FREEZE], confirmed, [part, FREEZE]))
    assert found.endswith("Freezing is not distinguishable from it, and cheaper to train.")


def unequal(n_correct: tuple[int, int]) -> np.ndarray:
    """Of 90 images of one class and 10 of another, so many are right, whatever the seed."""
    first, second = n_correct
    row = np.concatenate([np.arange(90) < first, np.arange(10) < second])
    return np.tile(row, (3, 1)).astype(float)


@pytest.mark.parametrize(("correct", "better"), [
    ((90, 0), False),  # All are taken for the frequent class.
    ((88, 9), True),  # 97 %.
    ((80, 9), True),  # 89 %, but the mean of both recalls is 89 % as well.
    ((50, 5), False),  # 55 % of each.
])  # fmt: skip
def test_a_winner_that_may_know_nothing_is_not_recommended(
    correct: tuple[int, int], better: bool
) -> None:
    labels = np.repeat([0, 1], [90, 10])
    found = recommendation(data([PROBE], seen(*PROBE, unequal(correct), labels=labels)))
    start = (
        "With 40 % of the images no mode is shown to do better than to name the most frequent "
        "class each time, which is right for 90.0 % of the test images. The best found is a linear"
    )
    assert found.startswith("Use a linear probe" if better else start)


def test_a_mode_that_knows_something_lets_the_winner_be_recommended() -> None:
    labels = np.repeat([0, 1], [90, 10])
    confirmed = [
        *seen(*PROBE, unequal((50, 5)), labels=labels),
        *seen(*FREEZE, unequal((88, 9)), labels=labels),
    ]
    assert recommendation(data([PROBE, FREEZE], confirmed)).startswith("Use a linear probe")


@pytest.mark.parametrize(("images", "wide"), [(4, True), (200, False)])
def test_a_wide_interval_is_told(images: int, wide: bool) -> None:
    found = recommendation(data([PROBE], seen(*PROBE, hits(0.75, images))))
    end = " This is a wide interval, from 3 seeds and 4 test images."
    assert found.endswith(end) == wide


def test_a_frozen_winner_is_cheap_anyway_and_without_outputs_nothing_is_expected() -> None:
    found = recommendation(data([FREEZE, NET], make_confirmed(*FREEZE, [0.9, 0.92])))
    assert found.startswith("Use freezing at learning rate 0.001, with 40 % of the images for")
    assert " Its accuracy on these test images is 91.0 % (" in found
    assert recommendation(data([], [])) == ""


def test_the_score_that_was_asked_for_is_expected_first_and_decides() -> None:
    labels = np.repeat([0, 1], [90, 10])
    confirmed = [
        *seen(*NET, unequal((88, 9)), labels=labels),
        *seen(*FREEZE, unequal((90, 1)), labels=labels),
    ]
    study = data([NET, FREEZE], confirmed, [NET, FREEZE])
    vars(study)["settings"] = study.settings.model_copy(update={"metric": "val_balanced_accuracy"})
    found = recommendation(study)
    assert " Expect a balanced accuracy of 93.9 % (" in found
    assert " %) and an accuracy of 97.0 % (" in found
    assert found.endswith(
        " %) on new photos. The first is a wide interval, from 3 seeds and 100 test images. "
        "Freezing is 38.9 points behind by balanced accuracy, and about 6 times cheaper to train."
    )
    assert "points of balanced accuracy apart to be distinguishable" in str(resolution(study))


def test_balanced_accuracy_of_equal_classes_is_told_once() -> None:
    labels = np.arange(200) % 2
    confirmed = [*seen(*NET, hits(0.9)), *seen(*FREEZE, hits(0.7), labels=labels)]
    study = data([NET, FREEZE], confirmed, [NET, FREEZE])
    vars(study)["settings"] = study.settings.model_copy(update={"metric": "val_balanced_accuracy"})
    found = recommendation(study)
    assert (
        " Expect a balanced accuracy of 90.0 % (84.9 to 93.5 %) on new photos. Freezing " in found
    )
    assert found.endswith(" Freezing is 20.0 points behind, and about 6 times cheaper to train.")


@pytest.mark.parametrize(("metric", "name"), [
    ("val_auroc", "an AUROC"), ("val_balanced_accuracy", "a balanced accuracy"),
])  # fmt: skip
def test_a_perfect_winner_keeps_its_accuracy(metric: Metric, name: str) -> None:
    labels = np.repeat([0, 1], [150, 50])
    confirmed = [*seen(*NET, hits(1.0), labels=labels), *seen(*FREEZE, hits(0.9), labels=labels)]
    confirmed = [
        replace(c, scores=c.scores | {"test_auroc": float(c.images.auroc_draws[0])})
        for c in confirmed
        if c.images
    ]
    study = data([NET, FREEZE], confirmed)
    vars(study)["settings"] = study.settings.model_copy(update={"metric": metric})
    found = recommendation(study)
    assert f" Expect {name} of 100.0 % (" in found
    assert " %) and an accuracy of 100.0 % (" in found
    told = best_mode("pets", study.cells[1], ["lp_ft", "freeze"], study.findings, {}, metric)
    assert " By accuracy, it is ahead of freezing by 10.0 points (" in told


@pytest.mark.parametrize(("sizes", "correct", "said"), [
    ((90, 10), (80, 8), "The first is a wide interval, from 3 seeds and 100 test images."),
    ((12, 8), (9, 5), "Both are wide intervals, from 3 seeds and 20 test images."),
    ((400, 300), (300, 200), None),
])  # fmt: skip
def test_all_wide_intervals_are_told(
    sizes: tuple[int, int], correct: tuple[int, int], said: str | None
) -> None:
    row = np.concatenate([np.arange(n) < k for n, k in zip(sizes, correct, strict=True)])
    right = np.tile(row, (3, 1)).astype(float)
    study = data([PROBE], seen(*PROBE, right, labels=np.repeat([0, 1], sizes)))
    vars(study)["settings"] = study.settings.model_copy(update={"metric": "val_balanced_accuracy"})
    found = recommendation(study)
    assert found.endswith(f" on new photos. {said}" if said else " on new photos.")


def test_what_accuracy_can_not_tell_log_loss_may() -> None:
    def confirm(cell: Cell, losses: tuple[float, ...]) -> list[Confirmed]:
        trials = make_confirmed(*cell, (0.9, 0.91, 0.92))
        return [
            replace(c, scores=c.scores | {"test_log_loss": loss})
            for c, loss in zip(trials, losses, strict=True)
        ]

    confirmed = [*confirm(NET, (0.2, 0.21, 0.22)), *confirm(FREEZE, (0.4, 0.41, 0.43))]
    study = data([NET, FREEZE], confirmed, [NET, FREEZE])
    assert recommendation(study).endswith(
        "Freezing is not distinguishable from it by accuracy, behind by log loss, and about 6 "
        "times cheaper to train."
    )
    best = next(s for s in study.cells if s.cell == NET)
    sentence = best_mode("pets", best, ["freeze", "lp_ft"], study.findings, {})
    assert sentence.endswith(
        "By log loss, which also counts how sure a network is, it is ahead of freezing by 0.203 "
        "(0.189 to 0.218)."
    )


def test_a_study_that_was_stopped_while_it_confirms_is_provisional() -> None:
    study = data([FREEZE], make_confirmed(*FREEZE, (0.9, 0.92)))
    given = make_settings(mode=["freeze"], train_ratio=["0.4"], confirm_seeds=2)
    vars(study).update(settings=given)
    study.records.append(make_record(mode="freeze", train_ratio=0.4))
    one, other = plan(given, study.records)
    start = "Use freezing"
    provisional = f"This is provisional: 1 cell is not confirmed on all seeds yet. {start}"
    assert recommendation(study).startswith(provisional)
    for planned, found in ((one, provisional), (other, start)):
        record = make_record(len(study.records))
        study.records.append(replace(record, config=planned.config, kind="confirm"))
        vars(study).pop("choices", None)
        assert recommendation(study).startswith(found)


@pytest.mark.parametrize(("modes", "trials", "few"), [
    (["probe", "freeze"], 8, None),
    (["probe", "freeze"], 7, "freezing"),
    (["probe", "freeze", "finetune"], 2, "freezing and fine-tuning"),
    (["probe", "freeze", "finetune", "lp_ft"], 2, "3 of 4 modes"),
])  # fmt: skip
def test_a_winner_over_modes_that_were_hardly_tuned_is_provisional(
    modes: list[str], trials: int, few: str | None
) -> None:
    """A probe needs one trial, so it gains by rivals with few."""
    confirmed = [*seen(*PROBE, hits(0.9)), *seen(*FREEZE, hits(0.7))]
    study = data([PROBE, FREEZE], confirmed)
    given = make_settings(mode=modes, train_ratio=["0.4"], confirm_seeds=3, aux_weight=["0"])
    vars(study).update(settings=given)
    study.study["status"] = "done"
    for mode in modes:
        for _ in range(1 if mode == "probe" else trials):
            study.records.append(make_record(len(study.records), mode=mode, train_ratio=0.4))
    vars(study)["choices"] = data([], []).choices  # All is confirmed.
    found = recommendation(study)
    start = f"This is provisional: {few} had too few trials to be tuned. " if few else ""
    assert found.startswith(f"{start}Use a linear probe")
    best = next(s for s in study.cells if s.cell == PROBE)
    tried: list[Mode] = ["freeze", "probe"]
    said = best_mode("pets", best, tried, study.findings, {FREEZE: 7} if few else {})
    assert said.startswith(
        "A linear probe at learning rate 0.001 "
        f"{'scored best by validation log loss' if few else 'is best'} on pets."
    )


@pytest.mark.parametrize(("trials", "few"), [
    ({"freeze": 2, "finetune": 2}, "no mode had enough trials to be tuned"),
    ({"freeze": 2, "finetune": 2, "lp_ft": 8},
     "freezing and fine-tuning had too few trials to be tuned"),
    ({"freeze": 2, "finetune": 2, "partial": 2, "lp_ft": 8},
     "3 of 4 modes had too few trials to be tuned"),
    ({"freeze": 2, "finetune": 8}, None),
])  # fmt: skip
def test_a_winner_that_had_no_more_trials_is_named_with_its_rivals(
    trials: dict[str, int], few: str | None
) -> None:
    study = data([FREEZE], seen(*FREEZE, hits(0.9)))
    given = {"mode": [*trials], "train_ratio": ["0.4"], "confirm_seeds": 3, "aux_weight": ["0"]}
    vars(study).update(settings=make_settings(**given))
    study.study["status"] = "done"
    for mode, n in trials.items():
        for _ in range(n):
            study.records.append(make_record(len(study.records), mode=mode, train_ratio=0.4))
    vars(study)["choices"] = data([], []).choices  # All is confirmed.
    start = f"This is provisional: {few}. " if few else ""
    assert recommendation(study).startswith(f"{start}Use freezing")


def test_a_choice_without_its_repeats_is_provisional() -> None:
    study = data([FREEZE], make_confirmed(*FREEZE, (0.9, 0.92)))
    study.records.clear()
    given = make_settings(mode=["freeze"], train_ratio=["0.4"], confirm_seeds=2)
    vars(study).update(settings=given)
    for trial, lr in enumerate((0.01, 0.02)):
        study.records.append(make_record(trial, mode="freeze", train_ratio=0.4, lr=lr))
    repeats = plan(given, study.records)
    skipped = {(p.kind, p.config) for p in repeats}
    for planned in (*plan(given, study.records, skipped), *repeats):
        record = make_record(len(study.records))
        record = replace(record, config=planned.config, kind=planned.kind)
        vars(study).pop("choices", None)
        why = "in 1 cell the best configurations are not compared on further seeds yet"
        if len(study.records) == 4:  # All is confirmed.
            assert recommendation(study).startswith(f"This is provisional: {why}. Use ")
        study.records.append(record)
    vars(study).pop("choices", None)
    assert recommendation(study).startswith("Use ")


@pytest.mark.parametrize(("numbers", "largest", "smaller"), [
    (ON_CURVE, "With twice the labels expect about +0.7 points.",
     "With twice the labels of 64 %, for which its accuracy is 95.5 %, expect about +0.7 points."),
    ((20, 20, 20, 20), "More labels are not shown to help further.",
     "More labels than 64 % of the images are not shown to help further."),
])  # fmt: skip
def test_more_labels_are_those_beyond_the_largest_ratio(
    numbers: tuple[int, ...], largest: str, smaller: str
) -> None:
    confirmed = curve(numbers)
    for ratio, end in ((0.64, largest), (0.16, smaller)):
        assert recommendation(data([Cell("freeze", ratio)], confirmed)).endswith(f" {end}")


def test_a_gain_that_rounds_to_nothing_is_no_number() -> None:
    study = data([Cell("freeze", 0.64)], curve(ON_CURVE))
    found = study.findings.beyond("freeze")
    assert found
    found.gains[2] = replace(found.gains[2], mean=0.0004)
    assert recommendation(study).endswith(" With twice the labels expect less than 0.1 points.")


@pytest.mark.parametrize(("rival", "winner", "said"), [
    (Cell("freeze", 0.4), 0.1, "That it scored best with this share is no advice to leave out"),
    # Of another mode no labels were tried beyond the winner's.
    (Cell("probe", 0.4), 0.1, "That it scored best with this share is no advice to leave out"),
    (Cell("freeze", 0.4), 0.4, "Expect an accuracy of "),
])  # fmt: skip
def test_a_winner_with_few_labels_is_no_advice_to_leave_labels_out(
    rival: Cell, winner: float, said: str
) -> None:
    confirmed = [*seen("freeze", 0.1, hits(0.9)), *seen(*rival, hits(0.895))]
    found = recommendation(data([Cell("freeze", winner)], confirmed))
    assert f" of the images for training. {said}" in found


def test_a_winner_that_more_labels_are_shown_to_make_worse() -> None:
    confirmed = [*seen("freeze", 0.1, hits(0.9)), *seen("freeze", 0.4, hits(0.8))]
    found = recommendation(data([Cell("freeze", 0.1)], confirmed))
    assert " for training. With 40 % it is worse by 10.0 points (" in found
    assert "advice" not in found
    asked = data([Cell("freeze", 0.1)], confirmed)
    vars(asked)["settings"] = asked.settings.model_copy(update={"metric": "val_balanced_accuracy"})
    said = r" worse by 10\.0 points \([^)]*\) of balanced accuracy\. Expect "
    assert re.search(said, recommendation(asked))


def test_the_smallest_difference_that_shows() -> None:
    confirmed = [*seen(*NET, hits(0.9)), *seen(*FREEZE, hits(0.7))]
    found = resolution(data([NET, FREEZE], confirmed))
    assert found
    assert found.startswith("On 200 test images, with 3 seeds, two modes must be ")
    assert resolution(data([NET], seen(*NET, hits(0.9)))) is None, "there is nothing to compare"
    # One trial of the first cell lacks its outputs.
    third = Cell("scratch", 0.4)
    lost = [replace(confirmed[3], images=None), *confirmed[4:], *confirmed[:3]]
    without = resolution(data([NET, FREEZE], [*lost, *seen(*third, hits(0.5))]))
    assert without
    assert without.startswith("On 200 test images, with 3 seeds, two modes must be ")
    plain = make_confirmed(*NET, [0.5, 0.6]) + make_confirmed(*FREEZE, [0.5, 0.7])
    assert resolution(data([NET, FREEZE], plain)) is None, "on these test images alone"


@pytest.mark.parametrize(("cells", "said"), [
    ((NET, FREEZE), "points of accuracy apart to be distinguishable"),
    ((NET, FREEZE, Cell("lp_ft", 0.1), Cell("freeze", 0.1)),
     "points of accuracy apart, depending on the number of training images, to be"),
    ((NET, FREEZE, PROBE), "points of accuracy apart, depending on the two, to be"),
    ((NET, FREEZE, PROBE, Cell("lp_ft", 0.1), Cell("freeze", 0.1)),
     "apart, depending on the two and on the number of training images, to be"),
])  # fmt: skip
def test_what_the_smallest_difference_depends_on(cells: tuple[Cell, ...], said: str) -> None:
    confirmed = [c for i, cell in enumerate(cells) for c in seen(*cell, hits(0.9 - 0.05 * i**2))]
    assert said in str(resolution(data([*cells], confirmed)))


def test_what_is_recommended_is_provisional_while_a_mode_has_not_been_tried() -> None:
    study = data([NET], seen(*NET, hits(0.9)), [NET])
    vars(study).update(settings=make_settings(mode=["lp_ft", "scratch"], train_ratio=["0.4"]))
    start = "This is provisional: training from scratch has not been tried. Use fine-tuning after"
    assert recommendation(study).startswith(start)


def test_test_images_of_one_group_show_nothing_of_others() -> None:
    confirmed = [*seen(*NET, hits(0.9, 40)), *seen(*FREEZE, hits(0.3, 40))]
    grouped = [
        replace(c, images=replace(c.images, groups=np.zeros(40, np.int64), named=True))
        for c in confirmed
        if c.images
    ]
    study = data([NET, FREEZE], grouped, [NET, FREEZE])
    d = study.findings.difference(NET, FREEZE)
    assert d
    assert (d.estimate.mean, d.verdict, d.p_holm) == (0.6, "cannot tell", None)
    assert (d.estimate.half_width, d.p_worse_by(0.1)) == (None, 1.0)
    assert resolution(study) is None
    said = recommendation(study)
    assert " All test images are of one group, so how it does on photos of new groups is " in said
    assert "Freezing is not distinguishable from it" in said
    best = next(c for c in study.cells if c.cell == NET)
    first = best_mode("photos", best, ["lp_ft", "freeze"], study.findings, {})
    assert "One test group does not show whether modes differ: the difference of these " in first
    assert "ahead" not in first
    about = covers([c.scores["test_accuracy"] for c in study.cells])
    assert about.endswith("on these test images, of one group, so they are not about new groups.")
    assert "images, of one group, so there are no verdicts." in difference_table([d]).caption
    assert "They are of one group" in cell_table(study.cells, "test_accuracy").caption


def test_groups_and_given_parts_are_named() -> None:
    confirmed = [*seen(*NET, hits(0.9, 40)), *seen(*FREEZE, hits(0.7, 40))]
    groups = np.arange(40) // 5
    grouped = [
        replace(c, images=replace(c.images, groups=groups, named=True))
        for c in confirmed
        if c.images
    ]
    study = data([NET, FREEZE], grouped, [NET, FREEZE])
    assert " Expect an accuracy of 90.0 % (" in recommendation(study)
    assert "on photos of new groups." in recommendation(study)
    found = str(resolution(study))
    assert found.startswith("On 40 test images of 8 groups, with 3 seeds, two modes must be ")
    assert found.endswith("more test groups or seeds would show smaller differences.")
    vars(study).update(is_split=True)
    start = (
        "Use fine-tuning after the heads (lp_ft) at learning rate 0.001, with 40 % of the given "
    )
    assert recommendation(study).startswith(f"{start}training images for training.")
    copies = [replace(c, images=replace(c.images, groups=groups)) for c in confirmed if c.images]
    assert "on new photos." in recommendation(data([NET, FREEZE], copies))
