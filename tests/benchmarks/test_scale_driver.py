"""What is made of the ends of no-op trials."""

import os
from pathlib import Path

import pytest

from benchmarks.scaling.base import meet
from benchmarks.scaling.driver import rates
from benchmarks.scaling.noop import made_up
from benchmarks.scaling.store import features, objects_given, study_messages
from tests.support.studies.counting_journal import CountingJournal
from tl_core.config import TrialConfig


def test_rates_are_taken_between_the_first_end_and_the_last() -> None:
    ends = [(10.0, 1.0), (10.5, 1.1), (11.0, 1.2)]
    row = rates(ends, slots=4, sleep_s=1.0)
    assert row["trials_per_s"] == 2
    assert row["wall_ms"] == 500
    assert row["driver_cpu_ms"] == 100
    assert row["driver_at_most_per_s"] == 10
    # Four slots end two trials a second, so each is with a trial for 2 s and sleeps for one.
    assert row["idle_slot_ms"] == 1000


def test_the_journal_counts_ends() -> None:
    journal = CountingJournal()
    config = TrialConfig(mode="finetune", train_ratio=0.1, lr=1e-3)
    record = journal.start(config)
    journal.epoch(record, made_up(1, 0.5))
    journal.end(record, "done")
    assert (record.status, len(record.history), len(journal.ends)) == ("done", 1, 1)


def test_workers_wait_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "another").touch()
    meet(tmp_path, 2)
    assert (tmp_path / str(os.getpid())).exists()


def test_a_worker_that_nobody_joins_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.scaling.base._PATIENCE_S", 0.0)
    with pytest.raises(TimeoutError, match="fewer than 2 workers after 0 s"):
        meet(tmp_path, 2)


def test_what_features_take_of_the_store() -> None:
    row = features(1_000_000, "resnet18", store=4 * 512 * 10**6)
    assert (row["features_gb"], row["share_of_store"]) == (2.05, 1.0)


def test_a_study_s_messages_are_small() -> None:
    # Data are attached by path: nothing here may grow with them.
    assert all(int(row["pickled_bytes"]) < 5_000 for row in study_messages())


def test_objects_are_counted_from_the_node_s_account(tmp_path: Path) -> None:
    logs = tmp_path / "ray/session_latest/logs"
    logs.mkdir(parents=True)
    line = "\tObjectManager.ObjectAdded - 9 total (0 active), Execution time: mean = 0.14ms\n"
    (logs / "debug_state.txt").write_text("NodeManager:\n" + line)
    assert objects_given(tmp_path, since=0) == 9
