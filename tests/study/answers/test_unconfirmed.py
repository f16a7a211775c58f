from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from study.answers.unconfirmed import unconfirmed_answer
from study.records.trial_record import Status, TrialRecord, best_of
from study.search.confirmation import plan
from tests.support.studies.builders import make_config, make_epoch, make_record, make_settings
from tl_core.config import Mode

GIVEN = make_settings(
    data="photos", mode=["partial", "lp_ft", "probe", "scratch"], train_ratio=["0.4"]
)
SEARCHED: list[tuple[Mode, float, float]] = [
    ("partial", 1e-3, 0.2), ("partial", 2e-3, 0.3), ("lp_ft", 1e-4, 0.25), ("lp_ft", 2e-4, 0.4),
]  # fmt: skip


def first_sentence(
    repeats: dict[int, float],
    lost: int = 0,
    failed: Mapping[int, int] = MappingProxyType({}),
    last: tuple[Mode, float] = ("probe", 0.5),
) -> str:
    """That after the repeats with these log losses, by their source, but the last `lost` ones.

    Of some sources, so many have failed. `last` is the mode and score of one more trial.
    """
    fails = Counter(failed)
    own: dict[Mode, dict[str, int]] = {"partial": {"unfreeze": 1}}
    records = [
        TrialRecord(
            i,
            make_config(mode=mode, train_ratio=0.4, **rate, **own.get(mode, {})),
            "done",
            [make_epoch(val_log_loss=loss)],
        )
        for i, (mode, lr, loss) in enumerate([*SEARCHED, (last[0], 1e-3, last[1])])
        for rate in [{} if mode == "probe" else {"lr": lr}]
    ]
    stage = plan(GIVEN, records)
    for p in stage[: len(stage) - lost]:
        loss = repeats[p.source or 0]
        epochs = [make_epoch(val_log_loss=loss)]
        status: Status = "failed" if fails[p.source or 0] > 0 else "done"
        fails[p.source or 0] -= 1
        records.append(
            TrialRecord(len(records), p.config, status, epochs, kind="repeat",
                        source=p.source)
        )  # fmt: skip
    best = best_of(records, "val_log_loss")
    assert best
    return unconfirmed_answer("pets", GIVEN, records, best, unfinished=True)[0]


@pytest.mark.parametrize(("repeats", "last", "said"), [
    ({0: 0.3, 1: 0.31, 2: 0.26, 3: 0.5}, ("probe", 0.5),
     "On 3 further seeds, fine-tuning after the heads (lp_ft) at learning rate 0.0001 (trial 2) "
     "with 40 % of the images has the best mean log loss (0.260); the best of the search (trial 0) "
     "has 0.300."),
    ({0: 0.22, 1: 0.31, 2: 0.26, 3: 0.5}, ("probe", 0.5),
     "On 3 further seeds it has the best mean, too (0.220)."),
    ({0: 0.3, 1: 0.28, 2: 0.29, 3: 0.5}, ("probe", 0.1),
     "On 3 further seeds, partial fine-tuning at learning rate 0.002 (trial 1) with 40 % of the "
     "images has the best mean log loss (0.280); the best of the search (trial 4) is not "
     "repeated, as a probe tunes itself."),
    ({0: 0.3, 1: 0.28, 2: 0.29, 3: 0.5}, ("scratch", 0.1),
     "On 3 further seeds, partial fine-tuning at learning rate 0.002 (trial 1) with 40 % of the "
     "images has the best mean log loss (0.280); the best of the search (trial 4) is not "
     "repeated, as its cell has no other configuration."),
])  # fmt: skip
def test_the_repeats_say_which_is_best(
    repeats: dict[int, float], last: tuple[Mode, float], said: str
) -> None:
    assert first_sentence(repeats, last=last).endswith(f". {said}")
    # Until all have ended they would compare some configurations on fewer seeds.
    assert "further" not in first_sentence(repeats, lost=1, last=last)


LP_FT = (
    "On 3 further seeds, fine-tuning after the heads (lp_ft) at learning rate 0.0002 (trial 3) "
    "with 40 % of the images has the best mean log loss (0.300) of those with the fewest failed "
    "seeds, which are placed first; the best of the search (trial 0) "
)


@pytest.mark.parametrize(("losses", "failed", "said"), [
    ({0: 0.2, 1: 0.4, 2: 0.31, 3: 0.3}, {0: 1}, f"{LP_FT}has 0.200 on 2 of 3 seeds."),
    ({0: 0.2, 1: 0.4, 2: 0.31, 3: 0.3}, {0: 3}, f"{LP_FT}failed on each of its further seeds."),
    ({0: 0.3, 1: 0.2, 2: 0.31, 3: 0.4}, {1: 2},
     "On 3 further seeds it has the best mean, too (0.300) of those with the fewest failed seeds, "
     "which are placed first."),
    ({0: 0.3, 1: 0.4, 2: 0.31, 3: 0.4}, {0: 1, 1: 1, 2: 1, 3: 1},
     "On 2 further seeds it has the best mean, too (0.300)."),
])  # fmt: skip
def test_a_failed_seed_of_the_repeats_is_told(
    losses: dict[int, float], failed: dict[int, int], said: str
) -> None:
    assert first_sentence(losses, failed=failed).endswith(f". {said}")


@pytest.mark.parametrize(("modes", "only"), [
    (["freeze"], "the only mode tried,"),
    (["finetune", "freeze", "lp_ft"], "the only mode with results so far,"),
])  # fmt: skip
def test_a_mode_is_the_only_one_tried_if_the_study_has_no_other(
    modes: list[Mode], only: str
) -> None:
    settings = make_settings(data="photos", mode=modes, train_ratio=["0.1"])
    first, *_ = unconfirmed_answer("pets", settings, [r := make_record()], r, unfinished=True)
    assert f"freezing, {only} scored best in the search by validation log loss" in first
