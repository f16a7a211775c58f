"""What the terminal says of a trial."""

from study.answers.phrases import show_weight
from study.reporting.summary import describe
from tests.support.studies.builders import make_epoch, make_record


def test_description_of_a_trial() -> None:
    done = make_record(0, "done", (0.5, 0.25))
    assert describe(done, "val_log_loss") == (
        "trial 0: freeze train_ratio=0.1 lr=0.001 aux_weight=0.00: val_log_loss 0.2500 after "
        "2 epochs, done"
    )
    pruned = make_record(1, "pruned", (0.75,), mode="finetune", epochs=10)
    assert describe(pruned, "val_log_loss").endswith("val_log_loss 0.7500 after 1 epoch, pruned")
    why = "DivergedError: train_loss is nan in epoch 1"
    failed = describe(make_record(2, "failed", (), why), "val_log_loss")
    assert failed.endswith(f"no epoch, failed ({why})")
    running = make_record(3, "running", (0.5,), mode="scratch", train_ratio=0.8, aux_weight=0.5)
    shown = "scratch train_ratio=0.8 lr=0.001 aux_weight=0.50"
    assert shown in describe(running, "val_log_loss")


def test_weight_that_is_learned_is_told_by_its_word() -> None:
    assert "lr=0.001 aux_weight=auto: " in describe(make_record(aux_weight="auto"), "val_loss")
    assert (show_weight(0.25), show_weight(0.0, "g")) == ("0.25", "0")


def test_a_probe_shows_its_penalty_and_partial_fine_tuning_its_stages() -> None:
    probe = make_record(mode="probe", log_losses=())
    assert describe(probe, "val_log_loss") == "trial 0: probe train_ratio=0.1: no epoch, done"
    probe.history = [make_epoch(1, l2=0.031)]
    assert "probe train_ratio=0.1 l2=0.031: val_log_loss 0.2500 after 1 epoch" in describe(
        probe, "val_log_loss"
    )
    partial = make_record(mode="partial", unfreeze=2)
    assert "partial train_ratio=0.1 lr=0.001 unfreeze=2 aux_weight=0.00:" in describe(
        partial, "val_log_loss"
    )
