from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from study.records.ledger import Ledger, StudyState, locate, read_events, read_records, read_state
from study.records.trial_record import Status, TrialRecord, best_of
from tests.support.core.hostile_files import without_root
from tests.support.studies.builders import make_config, make_epoch, make_record
from tl_core.config import Metric
from tl_core.errors import InputError


@pytest.fixture
def record() -> TrialRecord:
    record = TrialRecord(1, make_config(lr=0.01), "failed", [make_epoch(1)], kind="confirm")
    record.source, record.test, record.wall_s = 0, {"test_accuracy": 0.5}, 2.5
    record.error, record.node = "out of memory\nsecond line", "10.0.0.1"
    return record


@pytest.fixture
def ledger(tmp_path: Path, record: TrialRecord) -> Ledger:
    """A ledger with one trial, `record`."""
    ledger = Ledger(tmp_path)
    ledger.study("mine", {"id": "0123", "classes": {"Käse <b>": 3, "d\udcffg": 1}})
    ledger.start(record, {})
    ledger.epoch(1, make_epoch(1))
    ledger.end(record, [Path("curves.png")])
    return ledger


def names(ledger: Ledger, offset: int = 0, most: int | None = None) -> list[str]:
    return [event["event"] for event, _ in read_events(ledger.path, offset, most)]


def test_what_is_written_is_read(ledger: Ledger, record: TrialRecord, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^another run of test_what\w+ is using "):
        Ledger(tmp_path)
    ledger.start(make_record(2), {})
    ledger.end(make_record(2), [], tmp_path / "winner")
    ledger.close("done", [tmp_path / "figures" / "a.svg", Path("/elsewhere/b.svg")])
    state = read_state(tmp_path)
    assert (state.name, state.status, state.winner) == ("mine", "done", state.records[2])
    assert state.about["classes"] == {"Käse <b>": 3, "d\udcffg": 1}  # The last is not UTF-8.
    events = [event for event, _ in read_events(ledger.path)]
    assert names(ledger) == ["study", "start", "epoch", "end", "start", "end", "close"]
    assert (events[3]["files"], events[5]["model"]) == (["curves.png"], "winner")
    assert events[6]["files"] == ["figures/a.svg", "/elsewhere/b.svg"]
    record.started_at = events[1]["at"]
    assert read_records(tmp_path)[0] == record
    Ledger(tmp_path).study("mine", {}, again=True)
    assert read_state(tmp_path).status == "running"


def test_files_are_found_where_the_study_is_now(tmp_path: Path) -> None:
    moved = tmp_path / "laptop" / "renamed"
    (moved / "figures").mkdir(parents=True)
    for name in ("report.html", "figures/a.svg"):
        (moved / name).touch()
        assert locate(name, moved) == moved / name
    assert locate("none.html", moved) is None
    (tmp_path / "linked").symlink_to(moved)
    assert locate("report.html", tmp_path / "linked") == tmp_path / "linked/report.html"


def test_what_is_not_in_the_folder_of_the_study_is_not_found(tmp_path: Path) -> None:
    own, other, locked = (tmp_path / name for name in ("mine", "other", "locked"))
    for folder in (own, other, locked):
        folder.mkdir()
        (folder / "report.html").touch()
    (own / "link.html").symlink_to(other / "report.html")
    (own / "loop").symlink_to("loop")
    locked.chmod(0)  # A place that this user can't enter.
    for name in (str(other / "report.html"), "../other/report.html", "link.html", "loop"):
        assert locate(name, own) is None
    assert without_root(lambda: locate(str(locked / "report.html"), own)) is None


def test_reading_continues_where_it_ended(ledger: Ledger, tmp_path: Path) -> None:
    two = read_events(ledger.path, most=2)
    middle, end = two[-1][1], ledger.path.stat().st_size
    assert names(ledger, most=2) + names(ledger, middle) == ["study", "start", "epoch", "end"]
    assert read_events(ledger.path, end) == []
    ledger.close("done", [])
    assert names(ledger, end) == ["close"]
    assert read_state(tmp_path, middle).records[1].status == "running"


def test_a_ledger_that_another_run_has_added_to_is_not_continued(
    ledger: Ledger, tmp_path: Path
) -> None:
    state = read_state(tmp_path)
    ledger.close("interrupted", [])
    why = f"^{tmp_path}: another run has gone on with it meanwhile; give the command again$"
    with pytest.raises(InputError, match=why):
        Ledger(tmp_path, state.size)
    with ledger.path.open("ab") as file:
        file.write(b'{"event": "ep')  # Cut by a kill: it tells nothing.
    Ledger(tmp_path, read_state(tmp_path).size).close("done", [])
    assert names(ledger)[-2:] == ["close", "close"]


def test_an_incomplete_line_is_no_event_and_is_removed(ledger: Ledger, tmp_path: Path) -> None:
    ledger.close("interrupted", [])
    content = ledger.path.read_bytes()
    for cut in range(1, 40):
        ledger.path.write_bytes(content[:-cut])
        assert names(ledger) == ["study", "start", "epoch", "end"]
    ledger.path.write_bytes(content + b'{"event": "ep')
    Ledger(tmp_path)
    assert ledger.path.read_bytes() == content


def test_a_resumed_trial_keeps_its_epochs_and_time(ledger: Ledger, tmp_path: Path) -> None:
    (before,) = read_records(tmp_path)
    ledger.start(before, {})
    (record,) = read_records(tmp_path)
    assert (record.status, record.error, record.history) == ("running", None, [make_epoch(1)])
    ledger.epoch(1, make_epoch(2))
    (record,) = read_records(tmp_path)
    assert len(record.history) == 2
    assert record.wall_s == pytest.approx(before.wall_s, abs=1)


def test_a_clock_that_is_put_back_makes_no_negative_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.study("mine", {})
    ledger.start(make_record(0, log_losses=()), {})
    ledger.epoch(0, make_epoch(1))
    *events, last = [event for event, _ in read_events(ledger.path)]
    state = StudyState()
    for event in (*events, last | {"at": events[-1]["at"] + 60}, last | {"at": last["at"] - 600}):
        state.add(event)
    assert state.records[0].wall_s == 60.0


def test_the_best_so_far_and_how_many_do_not_run(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.study("mine", {})
    for trial, loss in enumerate((0.5, 0.75, 0.25)):
        record = make_record(trial, log_losses=(loss,))
        ledger.start(record, {})
        ledger.epoch(trial, record.history[0])
        ledger.end(record, [])
    ledger.start(make_record(3), {})
    ledger.end(make_record(3, "interrupted"), [])
    ledger.start(make_record(3), {})
    state, found = StudyState(), list[tuple[int, int]]()
    for event, _ in read_events(ledger.path):
        state.add(event)
        if best := state.best("val_log_loss"):
            found.append((best.trial, state.n_finished))
    # From the end of the first trial on: starts, epochs and ends.
    ends = [(0, 1), (0, 1), (0, 1), (0, 2), (0, 2), (0, 2), (2, 3), (2, 3), (2, 4), (2, 3)]
    assert found == ends
    later = read_state(tmp_path)
    assert (later.best("val_log_loss"), later.n_finished) == (later.records[2], 3)


def test_row_has_factors_last_epoch_and_test_scores() -> None:
    factors: dict[str, Any] = {"mode": "finetune", "train_ratio": 0.1, "lr": 1e-4}
    factors |= {"aux_weight": 0.5, "seed": 7}
    record = make_record(3, log_losses=(0.25, 0.5), **factors)
    assert record.value("val_log_loss") == 0.5
    record.test, record.wall_s = {"test_accuracy": 0.9}, 1.23456
    last = make_epoch(val_log_loss=0.5).plain()
    del last["epoch"]
    recipe = {
        "unfreeze": None, "batchnorm": "frozen", "min_steps": 200, "schedule": "cosine",
        "weight_decay": 0.01, "head_lr_ratio": 10.0, "layer_decay": 1.0, "resize": "squash",
        "augment": "none", "aux": "brightness", "aux_on": "labelled",
        "aux_target": "standardized", "class_weights": "none",
    }  # fmt: skip
    expected = {"trial": 3, "status": "done", **factors, **recipe, "seeds": 1, "epochs": 2, **last}
    expected |= {"test_accuracy": 0.9, "wall_s": 1.235, "error": None}
    assert record.row() == expected
    record.node = "10.0.0.1"
    assert record.row()["node"] == "10.0.0.1"
    record = make_record(status="failed", log_losses=(), error="no luck")
    assert record.value("val_log_loss") is None
    assert (record.row()["epochs"], record.row()["error"]) == (0, "no luck")
    assert "val_log_loss" not in record.row()


@pytest.mark.parametrize(("metric", "values", "best"), [
    ("val_log_loss", (0.5, 0.25, 0.75), 1), ("val_loss", (0.5, 0.25, 0.75), 1),
    ("val_brightness_mae", (0.5, 0.25, 0.75), 1), ("val_accuracy", (0.5, 0.25, 0.75), 2),
    ("val_auroc", (0.5, 0.25, 0.75), 2), ("val_brightness_r2", (-3.0, -1.0, -2.0), 1),
    ("val_log_loss", (0.5, 0.25, 0.25), 1), ("val_accuracy", (0.5, 1.0, 1.0), 1),
    ("val_log_loss", (0.5, 0.0, 0.1), 1),
])  # fmt: skip
def test_the_best_is_the_earlier_of_two(metric: Metric, values: list[float], best: int) -> None:
    records = [make_record(i) for i in range(3)]
    for record, value in zip(records, values, strict=True):
        record.history = [make_epoch(1, **{str(metric): value})]
    assert best_of(records[::-1], metric) is records[best]
    statuses: list[Status] = ["running", "pruned", "failed", "interrupted"]
    ended, unended = make_record(1, "done", (0.9,)), [make_record(0, s, (0.1,)) for s in statuses]
    assert best_of([*unended, ended], "val_log_loss") is ended
    assert best_of([*unended, make_record(log_losses=())], "val_log_loss") is None


def test_trials_that_are_written_together_wait_for_the_disk_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def sync(_: int) -> None:
        synced.append(len(ledger.path.read_bytes().splitlines()))

    monkeypatch.setattr("study.records.ledger.os.fsync", sync)
    ledger.start(make_record(2), {})
    with ledger.together():
        ledger.start(make_record(3), {})
        ledger.end(make_record(2), [])
        assert names(ledger)[-2:] == ["start", "end"], "a kill would lose none"
    with suppress(RuntimeError), ledger.together():
        ledger.end(make_record(3), [])
        raise RuntimeError
    ledger.close("done", [])
    assert synced == [5, 7, 8, 9], "how many events were there each time"
