import pytest

from study.answers.unconfirmed import unconfirmed_answer
from study.records.trial_record import TrialRecord, best_of
from study.search.confirmation import plan
from tests.support.studies.builders import make_config, make_epoch, make_settings
from tl_core.config import Mode

GIVEN = make_settings(data="photos", mode=["partial", "lp_ft", "probe"], train_ratio=["0.4"])
SEARCHED: list[tuple[Mode, float, float]] = [
    ("partial", 1e-3, 0.2), ("partial", 2e-3, 0.3), ("lp_ft", 1e-4, 0.25), ("lp_ft", 2e-4, 0.4),
    ("probe", 0.0, 0.5),
]  # fmt: skip


def first_sentence(repeats: dict[int, float], lost: int = 0, probe: float = 0.5) -> str:
    """That after the repeats with these log losses, by their source, but the last `lost` ones."""
    own: dict[Mode, dict[str, int]] = {"partial": {"unfreeze": 1}}
    records = [
        TrialRecord(
            i,
            make_config(mode=mode, train_ratio=0.4, **rate, **own.get(mode, {})),
            "done",
            [make_epoch(val_log_loss=probe if mode == "probe" else loss)],
        )
        for i, (mode, lr, loss) in enumerate(SEARCHED)
        for rate in [{} if mode == "probe" else {"lr": lr}]
    ]
    stage = plan(GIVEN, records)
    for p in stage[: len(stage) - lost]:
        loss = repeats[p.source or 0]
        epochs = [make_epoch(val_log_loss=loss)]
        records.append(
            TrialRecord(len(records), p.config, "done", epochs, kind="repeat",
                        source=p.source)
        )  # fmt: skip
    best = best_of(records, "val_log_loss")
    assert best
    return unconfirmed_answer("pets", GIVEN, records, best, unfinished=True)[0]


@pytest.mark.parametrize(("repeats", "probe", "said"), [
    ({0: 0.3, 1: 0.31, 2: 0.26, 3: 0.5}, 0.5,
     "On 3 further seeds, fine-tuning after the heads (lp_ft) at learning rate 0.0001 (trial 2) "
     "with 40 % of the images has the best mean log loss (0.260); the best of the search (trial 0) "
     "has 0.300."),
    ({0: 0.22, 1: 0.31, 2: 0.26, 3: 0.5}, 0.5,
     "On 3 further seeds it has the best mean, too (0.220)."),
    ({0: 0.3, 1: 0.28, 2: 0.29, 3: 0.5}, 0.1,
     "On 3 further seeds, partial fine-tuning at learning rate 0.002 (trial 1) with 40 % of the "
     "images has the best mean log loss (0.280); the best of the search (trial 4) has none."),
])  # fmt: skip
def test_the_repeats_say_which_is_best(repeats: dict[int, float], probe: float, said: str) -> None:
    assert first_sentence(repeats, probe=probe).endswith(f". {said}")
    # Until all have ended they would compare some configurations on fewer seeds.
    assert "further" not in first_sentence(repeats, lost=1, probe=probe)
