"""What the terminal says of a trial and of a study at its end, and MLflow of that end."""

import io
from dataclasses import replace
from math import nan
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from study.analysis.study_data import read_study_data
from study.answers.answer import answer_of
from study.answers.phrases import show_weight
from study.reporting.summary import describe, outcome_of, print_summary
from study.search.cells import Cell
from tests.support.studies.builders import make_epoch, make_record, make_settings
from tests.support.studies.synthetic import tiny_study


def test_description_of_a_trial() -> None:
    done = make_record(0, "done", (0.5, 0.25))
    assert describe(done, "val_log_loss") == (
        "trial 0: freeze train_ratio=0.1 lr=0.001 aux_weight=0.00: val_log_loss 0.2500 after "
        "2 epochs, done"
    )
    pruned = make_record(1, "pruned", (0.75,), mode="finetune", epochs=10)
    assert describe(pruned, "val_log_loss").endswith("val_log_loss 0.7500 after 1 epoch, pruned")
    diverged = make_record(1, "done", (4.2e35,))
    assert "val_log_loss 4.2e+35 after" in describe(diverged, "val_log_loss")
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


@pytest.mark.parametrize("confirm", [True, False])
def test_the_outcome_has_the_scores_of_the_winner_s_row(tmp_path: Path, confirm: bool) -> None:
    study = tiny_study("mine", mode=["freeze", "finetune"], trials="8", confirm=confirm)
    study = study if confirm else replace(study, confirm_seeds=0)
    data = read_study_data(study.write(tmp_path / "mine"))
    found, best, cell = outcome_of(data), data.winner, data.winning_cell
    assert best
    c = best.config
    assert found["winner"] == {"trial": best.trial, "mode": c.mode, "train_ratio": c.train_ratio}
    assert (cell is not None) == confirm
    scores = {"winner_val_log_loss": best.value("val_log_loss")}
    if cell:
        scores |= {f"{name}_mean": e.mean for name, e in cell.scores.items()}
        trials = [r for r in data.records if r.kind == "confirm" and Cell.of(r.config) == cell.cell]
        mean = fmean(r.value("val_log_loss") or nan for r in trials)
        scores["val_log_loss_mean"] = mean
    assert found["scores"] == pytest.approx(scores)
    assert ("test_accuracy_mean" in scores) == confirm
    assert set(answer_of(data)) <= set(found["answer"])


def test_a_study_without_a_finished_trial_has_no_winner(tmp_path: Path) -> None:
    data = read_study_data(replace(tiny_study(), confirm_seeds=0).write(tmp_path / "mine"))
    found = outcome_of(replace(data, records=[make_record(0, "failed", ())]))
    assert found.keys() == {"answer"}
    assert found["answer"][0].startswith("There is no answer on ")


@pytest.mark.parametrize(("confirm", "name"), [
    (True, "best of the search, not confirmed"), (False, "winner"),
])  # fmt: skip
def test_the_best_of_a_search_is_no_winner_before_it_is_confirmed(
    tmp_path: Path, confirm: bool, name: str
) -> None:
    settings = make_settings(mode=["finetune"]).model_copy(update={"confirm": confirm})
    prepared: Any = SimpleNamespace(settings=settings, folder=tmp_path)
    shown, record = io.StringIO(), make_record(mode="finetune")
    print_summary(prepared, [record], "interrupted", None, Console(file=shown, width=200))
    assert f"\n{name}: {describe(record, settings.metric)}\n" in shown.getvalue()


def test_repeats_of_a_control_are_told_apart(tmp_path: Path) -> None:
    own, control = (make_record(mode="finetune", aux_weight=weight) for weight in (0.3, 0.0))
    repeats = [
        replace(r, trial=i, kind="repeat", source=0)
        for i, r in enumerate((own, own, control), start=1)
    ]
    prepared: Any = SimpleNamespace(settings=make_settings(mode=["finetune"]), folder=tmp_path)
    shown = io.StringIO()
    print_summary(prepared, [own, *repeats], "finished", None, Console(file=shown, width=200))
    assert (
        "\nthe best of each cell on further seeds: 3 done of 3 trials, 1 of them for the auxiliary "
        "task's effect\n"
    ) in shown.getvalue()
