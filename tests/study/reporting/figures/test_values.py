from dataclasses import replace

from study.analysis.estimates import CellSummary
from study.intervals.estimate import Estimate
from study.reporting.figures.values import cell_text, trial_text
from tests.support.studies.builders import make_record

CELL = CellSummary(
    mode="lp_ft", train_ratio=0.1, lr=1.234e-3, aux_weight=0.25, source=12, trials=8,
    borrowed_from=None, seeds=(0, 1, 2), scores={"test_accuracy": Estimate(0.9, 0.85, 0.95, 3)},
)  # fmt: skip


def test_a_cell_says_its_score_with_its_interval_and_its_configuration() -> None:
    assert cell_text(CELL, "test_accuracy", lambda ratio: 2400 * ratio) == (
        "lp_ft at train_ratio 0.1, 240 images\n"
        "test_accuracy 0.900 (0.850 to 0.950), 3 seeds\n"
        "lr 0.0012, aux_weight 0.25, from trial 12"
    )
    probe = replace(
        CELL, mode="probe", lr=None, borrowed_from=0.8, seeds=(0,),
        scores={"test_accuracy": Estimate(0.9, None, None, 1)},
    )  # fmt: skip
    assert cell_text(probe, "test_accuracy", lambda ratio: 2400 * ratio).splitlines()[1:] == [
        "test_accuracy 0.900, one seed",
        "aux_weight 0.25, from trial 12 at 0.8",
    ]


def test_a_trial_says_its_number_status_factors_and_score() -> None:
    pruned = make_record(7, "pruned", (0.5, 0.25), mode="finetune", train_ratio=0.4, lr=1e-4)
    assert trial_text(pruned, "val_log_loss", lambda ratio: 50 * ratio) == (
        "trial 7, stopped early\nfinetune at train_ratio 0.4, 20 images\n"
        "lr 0.0001, aux_weight 0\nval_log_loss 0.2500"
    )
    failed = make_record(8, "failed", (), mode="probe")
    assert trial_text(failed, "val_log_loss", lambda ratio: 50 * ratio).splitlines() == [
        "trial 8, failed", "probe at train_ratio 0.1, 5 images",
        "aux_weight 0",
    ]  # fmt: skip
