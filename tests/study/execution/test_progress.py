import re
from io import StringIO

import pytest
from rich.console import Console

from study.answers.phrases import show_weight
from study.execution.progress import (
    StudyDisplay,
    _places,
    describe,
    search_left,
    seconds_left,
)
from study.records.trial_record import Kind, Status, TrialRecord
from study.search.cells import Cell
from tests.support.studies.builders import make_config, make_epoch, make_record
from tl_core.config import Mode, TrialConfig


def console(*, terminal: bool) -> Console:
    return Console(
        record=True,
        force_terminal=terminal,
        width=120,
        soft_wrap=True,
        markup=False,
        file=StringIO(),
    )


def records() -> list[TrialRecord]:
    return [
        make_record(0, "done", (0.5, 0.25)),
        make_record(1, "pruned", (0.75,), mode="finetune", epochs=10),
        make_record(2, "failed", (), "DivergedError: train_loss is nan in epoch 1"),
        make_record(3, "running", (0.5,), mode="scratch", train_ratio=0.8, aux_weight=0.5),
    ]


PLANNED = {Cell("freeze", 0.1): 4, Cell("finetune", 0.1): 2, Cell("scratch", 0.8): 3}


def test_description_of_a_trial() -> None:
    done, pruned, failed, running = (describe(r, "val_log_loss") for r in records())
    assert done == (
        "trial 0: freeze train_ratio=0.1 lr=0.001 aux_weight=0.00: val_log_loss 0.2500 after "
        "2 epochs, done"
    )
    assert pruned.endswith("val_log_loss 0.7500 after 1 epoch, pruned")
    assert failed.endswith("no epoch, failed (DivergedError: train_loss is nan in epoch 1)")
    assert "scratch train_ratio=0.8 lr=0.001 aux_weight=0.50" in running


def test_weight_that_is_learned_is_told_by_its_word() -> None:
    assert "lr=0.001 aux_weight=auto: " in describe(make_record(aux_weight="auto"), "val_loss")
    assert (show_weight(0.25), show_weight(0.0, "g")) == ("0.25", "0")


def test_elsewhere_each_ended_trial_is_one_line() -> None:
    screen = console(terminal=False)
    with StudyDisplay(8, "val_log_loss", screen) as display:
        display.show([make_record(0, "running")], None)
        assert screen.export_text(clear=False) == ""
        display.show(records(), records()[2])
    (line,) = screen.export_text().splitlines()
    start, _, summary = line.partition("  |  ")
    assert start == describe(records()[2], "val_log_loss")
    assert summary == (  # No network has ended that tells how long those that are left take.
        "1 + 1 pruned of 8 done, 1 running, 1 failed, ETA of this stage unknown, "
        "best val_log_loss 0.2500 (trial 0)"
    )


def test_before_the_first_trial_has_ended() -> None:
    screen = console(terminal=True)
    with StudyDisplay(8, "val_log_loss", screen) as display:
        display.show([make_record(0, "running", ())], None)
        screen.print(display._live.renderable)
    assert (
        "0 of 8 done, 1 running, 0 failed, ETA of this stage unknown, no best yet"
        in screen.export_text()
    )


def test_terminal_shows_a_panel() -> None:
    screen = console(terminal=True)
    known = [make_record(4, mode="finetune"), make_record(5, mode="scratch")]  # Of a run before.
    for record in known:
        record.wall_s = 1200
    with StudyDisplay(8, "val_log_loss", screen, known, PLANNED) as display:
        display.show([*known, *records()], records()[2])
        panel = display._live.renderable
    screen = console(terminal=True)
    screen.print(panel)
    text = screen.export_text()
    cells = [re.findall(r"[^\s│┃]+", line) for line in text.splitlines() if "│" in line]
    assert cells == [
        ["0", "freeze", "0.1", "0.001", "0.00", "2/2", "0.2500", "done"],
        ["1", "finetune", "0.1", "0.001", "0.00", "1/10", "0.7500", "pruned"],
        ["2", "freeze", "0.1", "0.001", "0.00", "0/2", "failed"],
        ["3", "scratch", "0.8", "0.001", "0.50", "1/2", "0.5000", "running"],
    ]
    assert "3/8" in text
    assert "1 + 1 pruned of 8 done, 1 running, 1 failed" in text
    assert "ETA of this stage 0:50:00, best val_log_loss 0.2500 (trial 0)" in text


@pytest.mark.parametrize(
    ("running", "shown"),
    [((3, 19), [13, 14, 15, 16, 17, 18, 3, 19]), (tuple(range(10, 20)), [*range(10, 20)])],
)
def test_panel_keeps_the_running_and_the_last_ended_in_sight(
    running: tuple[int, ...], shown: list[int]
) -> None:
    screen = console(terminal=True)
    many = [make_record(i, "running" if i in running else "done") for i in range(20)]
    with StudyDisplay(20, "val_log_loss", console(terminal=True)) as display:
        display.show(many, None)
        screen.print(display._live.renderable)
    assert [int(n) for n in re.findall(r"│ (\d+) +│", screen.export_text())] == shown


def test_reason_with_brackets_is_shown_as_it_is() -> None:
    screen = console(terminal=False)
    record = make_record(0, "failed", (), "OSError: [/data] and [red] are no tags")
    with StudyDisplay(1, "val_log_loss", screen) as display:
        display.show([record], record)
    assert "(OSError: [/data] and [red] are no tags)" in screen.export_text()


def test_display_counts_what_confirms_apart() -> None:
    out = console(terminal=False)
    search = [make_record(i) for i in range(2)]
    with StudyDisplay(2, "val_log_loss", out) as display:
        display.show(search, search[1])
        confirming = [make_record(2, seed=1), make_record(3, "running", (0.5,), seed=2)]
        display.confirm("confirming", [*(r.config for r in confirming), make_config(seed=3)])
        for record in confirming:
            record.kind, record.wall_s = "confirm", 10
        confirming[0].test = {"test_accuracy": 0.875}
        display.show(search + confirming, confirming[0])
    first, stage, second = out.export_text().splitlines()
    assert stage == "confirming: 3 trials, ETA of this stage 0:00:00"
    assert "2 of 2 done, 0 running, 0 failed" in first
    assert (
        "val_log_loss 0.2500, test accuracy 0.875 (one seed) after 2 epochs, done  |  confirming: "
        in second
    )
    assert "1 of 3 done, 1 running, 0 failed" in second
    # Ten seconds a trial, of which one has done one of its two epochs.
    assert "ETA of this stage 0:00:15, " in second


def test_display_counts_each_stage_alone() -> None:
    out, records = console(terminal=False), [make_record(i) for i in range(2)]
    stages: list[Kind] = ["repeat", "confirm", "winner"]
    with StudyDisplay(2, "val_log_loss", out) as display:
        display.show(records, records[1])
        for number, kind in enumerate(stages, start=2):
            record = make_record(number, seed=number)
            record.kind = kind
            display.confirm(kind, [record.config, make_config(seed=99)])
            records.append(record)
            display.show(records, record)
    lines = out.export_text().splitlines()
    assert lines[1::2] == [f"{kind}: 2 trials, ETA of this stage 0:00:00" for kind in stages]
    for kind, line in zip(stages, lines[2::2], strict=True):
        assert f"  |  {kind}: 1 of 2 done, 0 running" in line


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


def ended(
    mode: Mode, ratio: float, wall_s: float, kind: Kind = "search", status: Status = "done"
) -> TrialRecord:
    record = make_record(status=status, mode=mode, train_ratio=ratio)
    record.wall_s, record.kind = wall_s, kind
    return record


def planned(mode: Mode, ratio: float, seed: int = 0) -> TrialConfig:
    return make_config(mode=mode, train_ratio=ratio, seed=seed)


SEARCH = [
    ended("freeze", 0.1, 2.0),
    ended("finetune", 0.1, 20.0),
    ended("finetune", 0.8, 160.0),
    ended("finetune", 0.8, 5.0, status="pruned"),
]


def test_each_trial_lasts_as_long_as_one_of_its_cell() -> None:
    to_come = [planned("freeze", 0.1), planned("finetune", 0.1), planned("finetune", 0.8)]
    assert seconds_left(to_come, [], SEARCH, 1) == 182
    assert seconds_left(to_come, [], SEARCH, 2) == 91


@pytest.mark.parametrize(("ratio", "seconds"), [(0.01, 20), (0.2, 20), (0.4, 160)])
def test_nearest_ratio_of_the_mode_stands_in(ratio: float, seconds: float) -> None:
    assert seconds_left([planned("finetune", ratio)], [], SEARCH, 1) == seconds


def test_last_trial_of_a_cell_says_more_than_those_before() -> None:
    shorter = ended("freeze", 0.1, 0.5, "confirm")
    assert seconds_left([planned("freeze", 0.1, 1)], [shorter], [*SEARCH, shorter], 1) == 0.5


def test_what_has_run_counts_by_its_epochs() -> None:
    half = make_record(7, "running", (0.5,), mode="finetune", train_ratio=0.8)
    over = make_record(8, "failed", (0.5,), mode="finetune", train_ratio=0.1)
    to_come = [half.config, over.config]
    assert seconds_left(to_come, [half, over], SEARCH, 1) == 80


def test_nothing_is_left_of_nothing() -> None:
    assert seconds_left([], [], SEARCH, 0) == 0
    assert search_left({}, SEARCH, 0, 0) == 0


def test_frozen_trials_say_nothing_of_the_networks_that_are_left() -> None:
    cells = {Cell("freeze", 0.1): 4, Cell("finetune", 0.8): 3, Cell("finetune", 0.1): 3}
    frozen = [ended("freeze", 0.1, 0.0) for _ in range(4)]
    assert search_left(cells, frozen, 6, 2) is None
    known = [*frozen, ended("finetune", 0.8, 60.0)]
    assert search_left(cells, known, 5, 2) == (2 + 3) * 60 / 2
    known += [ended("finetune", 0.1, 20.0), make_record(9, "running", (0.5,), mode="finetune")]
    assert search_left(cells, known, 4, 2) == (2 * 60 + 2 * 20 - 20 / 2) / 2
    # A joint search had more trials of a cell than its even share.
    assert (
        search_left({Cell("freeze", 0.1): 2.0, Cell("finetune", 0.8): 4.0}, known, 6, 1) == 360 - 10
    )


def test_a_sweep_has_one_place() -> None:
    swept = [make_record(i, "running") for i in range(16)]
    networks = [make_record(i, "running", mode="scratch") for i in (16, 17)]
    over = [make_record(18), make_record(19, mode="scratch")]
    assert [_places(over), _places(swept), _places(swept + networks + over)] == [0, 1, 3]
