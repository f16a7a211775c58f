import re
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from study.cluster.capacity import Capacity
from study.diagnosis.observed import UNIT, Expected
from study.diagnosis.remaining import Remaining
from study.execution.progress import StudyDisplay
from study.records.trial_record import Kind, TrialRecord
from study.search.confirmation import Planned
from tests.support.studies.builders import make_config, make_record, make_settings, plain_shape
from tests.support.studies.counting_records import CountingRecords


def console(*, terminal: bool, width: int = 120, height: int = 24) -> Console:
    """As a study's, whose lines are not broken."""
    return Console(
        record=True, force_terminal=terminal, width=width, height=height, soft_wrap=True,
        markup=False, file=StringIO(),
    )  # fmt: skip


def left(trials: int, records: list[TrialRecord], known: bool = False, **given: Any) -> Remaining:
    """What is left of a study in two places."""
    plain = {"mode": ("freeze", "finetune"), "train_ratio": (0.1, 0.8)}
    settings = make_settings(data="photos", trials=trials, **plain | given)
    expected = Expected(settings, plain_shape(100, 2, 512), records, UNIT if known else None)
    return Remaining(expected, Capacity(2, 2, 0), clock=lambda: 0.0)


def panel(display: StudyDisplay, width: int, height: int = 24) -> list[str]:
    """The lines of a terminal."""
    screen = console(terminal=True, width=width, height=height)
    screen.print(display._live.get_renderable())
    return screen.export_text().splitlines()


def some_trials() -> list[TrialRecord]:
    return [
        make_record(0, "done", (0.5, 0.25)),
        make_record(1, "pruned", (0.75,), mode="finetune", epochs=10),
        make_record(2, "failed", (), "DivergedError: train_loss is nan in epoch 1"),
        make_record(3, "running", (0.5,), mode="scratch", train_ratio=0.8, aux_weight=0.5),
    ]


def test_elsewhere_each_ended_trial_is_one_line() -> None:
    screen, records = console(terminal=False), list[TrialRecord]()
    with StudyDisplay(left(8, records), screen) as display:
        records += [make_record(0, "running")]
        display.show(None)
        assert screen.export_text(clear=False) == ""
        records[:] = some_trials()
        display.show(records[2])
    (line,) = screen.export_text().splitlines()
    assert line == (  # No network has ended that tells how long those that are left take.
        "trial 2: freeze train_ratio=0.1 lr=0.001 aux_weight=0.00: no epoch, failed (DivergedError:"
        " train_loss is nan in epoch 1)  |  search: 1 + 1 pruned of 8 done, 1 running, 1 failed; "
        "best val_log_loss 0.2500 (trial 0); time left: unknown yet"
    )


def test_before_the_first_trial_has_ended() -> None:
    records: list[TrialRecord] = []
    with StudyDisplay(left(8, records, known=True), console(terminal=True)) as display:
        assert "starting the first trials" in panel(display, 80)[0]
        records += [make_record(0, "running", ())]
        display.show(None)
        *_, counts, best, time = panel(display, 80)
    assert (counts, best) == ("search: 0 of 8 done, 1 running, 0 failed", "no best yet")
    assert re.match(r"about [\d:]+ left in this stage, about [\d:]+ at most in the", time)


def test_terminal_shows_a_panel() -> None:
    records = [make_record(4, mode="finetune"), make_record(5, mode="scratch")]  # Of a run before.
    with StudyDisplay(left(10, records), console(terminal=True)) as display:
        records += some_trials()
        display.show(records[2])
        lines = panel(display, 120)
    cells = [re.findall(r"[^\s│┃]+", line) for line in lines if "│" in line]
    assert cells == [
        ["0", "freeze", "0.1", "0.001", "0.00", "2/2", "0.2500", "done"],
        ["1", "finetune", "0.1", "0.001", "0.00", "1/10", "0.7500", "pruned"],
        ["2", "freeze", "0.1", "0.001", "0.00", "0/2", "failed"],
        ["3", "scratch", "0.8", "0.001", "0.50", "1/2", "0.5000", "running"],
    ]
    text = "\n".join(lines)
    assert " 3/8 " in text
    assert "search: 1 + 1 pruned of 8 done, 1 running, 1 failed\n" in text


WORST: dict[str, Any] = {"mode": "finetune", "train_ratio": 0.0625, "epochs": 100, "lr": 3.2e-5}


@pytest.mark.parametrize("width", [80, 60])
def test_a_terminal_shows_all_that_matters_whatever_is_long(width: int) -> None:
    records: list[TrialRecord] = []
    study = left(
        2000, records, known=True, metric="val_balanced_accuracy", epochs=100,
        mode=("finetune", "partial"), train_ratio=(0.0625, 0.8), unfreeze=(1,),
    )  # fmt: skip
    with StudyDisplay(study, console(terminal=True, width=width)) as display:
        records += [make_record(i, "done", (0.5,) * 100, **WORST) for i in range(1990, 2000)]
        records += [make_record(i, "running", (0.5,) * 10, **WORST) for i in (2000, 2001)]
        for record in records[:10]:
            record.wall_s = 86_400.0
        stage = [Planned(make_config(**WORST, seed=i), "repeat", 1990) for i in range(10**4)]
        display.confirm("auxiliary task's control", stage)
        display.show(None)
        lines = panel(display, width)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    words = " ".join(text.split())
    assert "auxiliary task's control: 0 of 10000 done, 0 running, 0 failed" in words
    assert "best val_balanced_accuracy 0.8125 (trial 1990)" in words
    assert re.search(r"about \d+ days, [\d:]+ left in this stage, about \d+ days, [\d:]+ at", words)
    assert words.endswith("at most in the study")
    # Each cell in one line.
    row = ["2001", "finetune", "0.0625", "3.2e-05", "0.00", "10/100", "0.8125", "running"]
    row = row if width == 80 else [cell for cell in row if cell not in ("3.2e-05", "0.00")]
    rows = [line.replace("│", " ").split() for line in lines if "│" in line]
    assert rows[-1] == row
    heads = " ".join(line.replace("┃", " ") for line in lines if "┃" in line).split()
    assert {"trial", "mode", "ratio", "val", "balanced", "accuracy"} <= {*heads}


@pytest.mark.parametrize(
    ("running", "height", "shown"),
    [
        ((3, 19), 24, [13, 14, 15, 16, 17, 18, 3, 19]),
        (tuple(range(10, 20)), 24, [*range(10, 20)]),
        (tuple(range(10, 20)), 20, [*range(10, 16)]),
        ((19,), 18, [16, 17, 18, 19]),
    ],
)
def test_panel_keeps_the_running_and_the_last_ended_in_sight(
    running: tuple[int, ...], height: int, shown: list[int]
) -> None:
    records: list[TrialRecord] = []
    screen = console(terminal=True, height=height)
    with StudyDisplay(left(20, records), screen) as display:
        records += [make_record(i, "running" if i in running else "done") for i in range(20)]
        display.show(None)
        text = "\n".join(panel(display, 120, height))
    assert [int(n) for n in re.findall(r"│ (\d+) +│", text)] == shown
    hidden = len(running) - len(shown)
    assert ("and 4 more trials running" in text) == (hidden > 0)


def test_reason_with_brackets_is_shown_as_it_is() -> None:
    screen, records = console(terminal=False), list[TrialRecord]()
    with StudyDisplay(left(4, records), screen) as display:
        records += [make_record(0, "failed", (), "OSError: [/data] and [red] are no tags")]
        display.show(records[0])
    assert "(OSError: [/data] and [red] are no tags)" in screen.export_text()


def test_display_counts_what_confirms_apart() -> None:
    out, records = console(terminal=False), list[TrialRecord]()
    with StudyDisplay(left(4, records, known=True), out) as display:
        records += [make_record(i, mode="finetune") for i in range(4)]
        for record in records:
            record.wall_s = 10
        display.show(records[3])
        stage = [Planned(make_config(mode="finetune", seed=i), "confirm", 0) for i in (1, 2, 3)]
        display.confirm("confirming", stage)
        confirming = make_record(4, mode="finetune", seed=1)
        confirming.kind, confirming.wall_s = "confirm", 10
        confirming.test = {"test_accuracy": 0.875}
        records.append(confirming)
        display.show(confirming)
    first, begins, second = out.export_text().splitlines()
    assert "search: 4 of 4 done, 0 running, 0 failed" in first
    assert "about 0:00:00 left in this stage, " in first
    # Ten seconds for two epochs of 10 images and 20 to score, and a third more with the test, by
    # three in two places.
    assert re.match(r"confirming: 3 trials; about 0:00:1[5-9] left in this stage, about ", begins)
    assert (
        "val_log_loss 0.2500, test accuracy 0.875 (one seed) after 2 epochs, done  |  confirming: "
        "1 of 3 done, 0 running, 0 failed; best val_log_loss 0.2500 (trial 0); about 0:00:10 left"
    ) in second


def test_display_counts_each_stage_alone() -> None:
    out, records = console(terminal=False), list[TrialRecord]()
    stages: list[Kind] = ["repeat", "confirm", "winner"]
    with StudyDisplay(left(4, records), out) as display:
        records += [make_record(i) for i in range(4)]
        display.show(records[1])
        for number, kind in enumerate(stages, start=4):
            planned = [Planned(make_config(seed=seed), kind, 0) for seed in (number, 99)]
            display.confirm(kind, planned)
            record = make_record(number, seed=number)
            record.kind, record.source = kind, 0
            records.append(record)
            display.show(record)
    lines = out.export_text().splitlines()
    assert [line.partition(";")[0] for line in lines[1::2]] == [f"{k}: 2 trials" for k in stages]
    for kind, line in zip(stages, lines[2::2], strict=True):
        assert f"  |  {kind}: 1 of 2 done, 0 running" in line


@pytest.mark.parametrize("terminal", [True, False])
def test_a_change_costs_the_same_however_many_trials_have_ended(terminal: bool) -> None:
    records = CountingRecords(make_record(i) for i in range(1000))
    study = left(2000, records)
    with StudyDisplay(study, console(terminal=terminal)) as display:
        records.read = 0
        for i in range(1000, 1010):
            records.append(make_record(i, "running"))
            display.show(None)
            records[-1].status = "done"
            display.show(records[-1])
        assert records.read == 3 * 10  # Once for what is expected, what is left, and the display.
        assert "search: 10 of 1000 done" in " ".join(panel(display, 120))


def test_the_panel_shows_what_has_changed_since_it_was_drawn() -> None:
    records = [make_record(0, "running", ())]
    with StudyDisplay(left(8, records), console(terminal=True)) as display:
        display.show(None)
        assert "0/2" in "".join(panel(display, 80))
        records[0].history += make_record(0).history  # No event is needed to see it.
        assert "2/2" in "".join(panel(display, 80))
