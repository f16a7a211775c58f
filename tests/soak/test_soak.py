"""The soak: its schedule, what its checks find, and a short one on a real Ray and MLflow server."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from study.records.ledger import Ledger, read_records
from study.records.study_folder import LEDGER
from study.records.trial_record import TrialRecord
from study.tracking.sync_process import LedgerSync
from study.tracking.writer import MlflowWriter
from tests.soak.__main__ import grown, main
from tests.soak.check import RunState, check, read_runs
from tests.soak.faults import KINDS, LEAST_TRIALS, OF_THE_SERVER, schedule
from tests.soak.memory import LEAST_TRIALS as LEAST_LIFE
from tests.soak.memory import Sample, Watch, growths, sample
from tests.soak.study import Follower
from tests.support.processes import kill_all, processes
from tests.support.studies.builders import make_config, make_epoch

Runs = dict[str, RunState]
ID = "0123"
SEED = "155"
"""Of the short soak: its faults have the shortest delays of the first 300 seeds."""


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("trials", [LEAST_TRIALS, 24, 500])
def test_the_schedule_depends_on_its_seed_and_has_every_kind(trials: int, seed: int) -> None:
    faults = schedule(trials, seed)
    assert faults == schedule(trials, seed)
    assert faults != schedule(trials, seed + 1)
    assert {f.kind for f in faults} == set(KINDS)
    assert [f.after for f in faults] == sorted(f.after for f in faults)
    assert faults[0].after > 0
    assert faults[-1].after < trials
    assert all(f.kind in OF_THE_SERVER for f in faults if f.after >= 0.6 * trials)
    assert all(0 <= f.pick < 1 and f.delay_s >= 0 and f.away_s >= 0 for f in faults)


def test_too_few_trials_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^11 trials are too few for a fault of each kind: 12$"):
        schedule(LEAST_TRIALS - 1, 0)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, RunState]]]:
    """A study of three trials in a real store; its first trial was interrupted once."""
    folder = tmp_path_factory.mktemp("sent") / "mine"
    folder.mkdir()
    ledger = Ledger(folder)
    settings = {"debug": False, "metric": "val_log_loss", "aux_weight": [0.0]}
    ledger.study("mine", {"id": ID, "settings": settings, "data": {"classes": {"cat": 1}}})
    for trial in range(3):
        record = TrialRecord(trial, make_config(lr=0.1 / (trial + 1)))
        ledger.start(record, {})
        ledger.epoch(trial, make_epoch(1, val_log_loss=0.7))
        if trial == 0:
            record.status, record.wall_s = "interrupted", 0.25
            ledger.end(record, [])
            ledger.start(record, {})
        ledger.epoch(trial, make_epoch(2, val_log_loss=0.5 + trial))
        record.status, record.wall_s = "done", 1.0 + trial / 3
        ledger.end(record, [])
    ledger.close("done", [])
    rows = [record.row() for record in read_records(folder)]
    pd.DataFrame(rows).to_csv(folder / "trials.csv", index=False)
    uri = f"sqlite:///{folder.parent}/mlflow.db"
    process = LedgerSync(folder, MlflowWriter(uri))
    assert process.push() is None
    process.close()
    return folder, read_runs(MlflowClient(uri), ID)


@pytest.fixture
def folder(sent: tuple[Path, object], tmp_path: Path) -> Path:
    """The study's files, to be changed."""
    for name in (LEDGER, "trials.csv"):
        (tmp_path / name).write_bytes((sent[0] / name).read_bytes())
    return tmp_path


@pytest.fixture
def runs(sent: tuple[Path, list[tuple[str, RunState]]]) -> Runs:
    """The study's runs, to be changed."""
    return {
        key: replace(
            run,
            params=dict(run.params),
            metrics=dict(run.metrics),
            sent={name: list(values) for name, values in run.sent.items()},
        )
        for key, run in sent[1]
    }


def test_a_study_that_agrees_passes(folder: Path, runs: Runs) -> None:
    assert check(folder, 3, list(runs.items())) == []


@pytest.mark.parametrize(
    ("key", "change", "found"),
    [
        ("1", {"status": "RUNNING"}, "status: MLflow 'RUNNING', ledger 'FINISHED'"),
        ("study", {"status": "RUNNING"}, "status: MLflow 'RUNNING', ledger 'FINISHED'"),
        ("1", {"parent": ""}, "parent: MLflow '', ledger 'study'"),
        (
            "study",
            {"metrics": {"best_val_log_loss": 0.7}},
            "metrics best_val_log_loss: MLflow 0.7, ledger 0.5",
        ),
        ("1", {"params": {"lr": "0.5"}}, "params lr: MLflow '0.5', ledger '0.05'"),
        ("1", {"metrics": {"val_log_loss": 0.7}}, "metrics val_log_loss: MLflow 0.7, ledger 1.5"),
        (
            "1",
            {"sent": {"val_log_loss": [(2, 1.5)]}},
            "sent val_log_loss: MLflow [(2, 1.5)], ledger [(1, 0.7), (2, 1.5)]",
        ),
        (
            "0",
            {"sent": {"wall_s": [(1, 0.25), (1, 0.25), (2, 1.0)]}},
            "sent wall_s: MLflow [(1, 0.25), (1, 0.25), (2, 1.0)], ledger [(1, 0.25), (2, 1.0)]",
        ),
        ("1", {"sent": {"odd": [(1, 1.0)]}}, "sent odd: MLflow [(1, 1.0)], ledger None"),
    ],
)
def test_a_wrong_value_in_mlflow_is_found(
    folder: Path, runs: Runs, key: str, change: dict[str, object], found: str
) -> None:
    for name, value in change.items():
        now = getattr(runs[key], name)
        setattr(runs[key], name, now | value if isinstance(value, dict) else value)
    where = key if key == "study" else f"trial {key}"
    assert check(folder, 3, list(runs.items())) == [f"{where}, {found}"]


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (("study", "0", "2"), "trial 1: not in MLflow"),
        (("study", "0", "1", "1", "2"), "trial 1: 2 times in MLflow"),
        (("study", "0", "1", "2", "stray run 7"), "stray run 7: in MLflow alone"),
        (("study", "0", "1", "2", "3"), "trial 3: in MLflow alone"),
    ],
)
def test_missing_and_extra_runs_are_found(
    folder: Path, runs: Runs, keys: tuple[str, ...], found: str
) -> None:
    assert check(folder, 3, [(key, runs.get(key, runs["1"])) for key in keys]) == [found]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda rows: rows[:2], ["trial 2: not in trials.csv"]),
        (lambda rows: [*rows, rows[1]], ["trial 1: 2 times in trials.csv"]),
        (lambda rows: [*rows, {**rows[1], "trial": 3}], ["trial 3: in trials.csv alone"]),
        (
            lambda rows: [*rows[:2], {**rows[2], "val_accuracy": 0.5, "status": "pruned"}],
            [
                "trial 2, status: trials.csv 'pruned', ledger 'done'",
                "trial 2, val_accuracy: trials.csv '0.5', ledger 0.875",
            ],
        ),
    ],
)
def test_a_wrong_table_is_found(
    folder: Path, runs: Runs, change: Callable[[list[dict[str, object]]], object], found: list[str]
) -> None:
    rows = pd.read_csv(folder / "trials.csv").to_dict("records")
    pd.DataFrame(change(rows)).to_csv(folder / "trials.csv", index=False)
    assert check(folder, 3, list(runs.items())) == found


def test_an_incomplete_ledger_is_found(folder: Path, runs: Runs) -> None:
    (found,) = check(folder, 4, list(runs.items()))
    assert found == "ledger: 3 trials of the search instead of 4, or other numbers"
    lines = [json.loads(line) for line in (folder / LEDGER).read_text().splitlines()]
    short = [e for e in lines if (e["event"], e.get("trial")) != ("end", 2)]
    (folder / LEDGER).write_text("".join(json.dumps(e) + "\n" for e in short))
    assert "trial 2: running after 2 epochs" in check(folder, 3, list(runs.items()))
    (folder / LEDGER).write_text("".join(json.dumps(e) + "\n" for e in lines[:-1]))
    (found,) = check(folder, 3, list(runs.items()))
    assert found == "ledger: the study is 'running', not 'done'"


def test_the_follower_counts_finished_trials_as_the_ledger_grows(tmp_path: Path) -> None:
    follower = Follower(tmp_path / LEDGER)
    assert follower.ended() == 0
    ledger, record = Ledger(tmp_path), TrialRecord(0, make_config(), "interrupted")
    counts = []
    for record.status in ("interrupted", "done", "done"):
        ledger.end(record, [])
        counts.append(follower.ended())
    assert counts == [0, 1, 1]


def life(trials: int, mb_a_trial: float, process: int = 1) -> list[Sample]:
    """A process that grows evenly."""
    return [Sample(n, "driver", process, 300 + mb_a_trial * n, 900.0) for n in range(trials + 1)]


@pytest.mark.parametrize(
    ("mb_a_trial", "wrong"),
    [
        (0.0, []),
        (0.125, []),
        (-0.5, []),
        (0.25, ["memory of the driver grows by 25.0 MB in 100 trials, at most 20"]),
    ],
)
def test_growth_is_that_of_the_longest_life(mb_a_trial: float, wrong: list[str]) -> None:
    (found,) = growths(life(400, mb_a_trial) + life(150, 7, process=2))
    assert (found.lives, found.trials, found.peak_rss_mb) == (2, 399, 900)
    assert found.mb_per_100_trials == pytest.approx(100 * mb_a_trial)
    assert grown([found]) == wrong


def test_memory_of_the_report_after_the_last_trial_does_not_count() -> None:
    (found,) = growths(life(400, 0.0) + [Sample(400, "driver", 1, 2000.0, 2000.0)] * 200)
    assert (found.mb_per_100_trials, found.peak_rss_mb) == (0, 900)


def test_a_short_life_has_no_growth_rate() -> None:
    (found,) = growths(life(LEAST_LIFE - 1, 1))
    assert found.mb_per_100_trials is None


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = ["env", f"RAY_TMPDIR={tmp_path}", sys.executable, "-c", "import time; time.sleep(99)"]
    process = subprocess.Popen(command)
    while list(processes(tmp_path)) != [process.pid]:
        assert process.poll() is None
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


def test_processes_are_watched_and_found_by_the_folder_of_their_ray(
    sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    with Watch(lambda: {"worker": [sleeper.pid], "driver": []}, lambda: 7) as watch:
        while not watch.samples:
            time.sleep(0.05)
    found = watch.samples[0]
    assert (found.trials, found.role, found.process) == (7, "worker", sleeper.pid)
    assert 1 < found.anon_mb < found.rss_mb < 100
    assert list(processes(tmp_path / "other")) == []
    kill_all(tmp_path)
    assert sleeper.wait() == -signal.SIGKILL
    assert list(processes(tmp_path)) == []
    assert sample("driver", sleeper.pid, 0) is None


@pytest.mark.soak
@pytest.mark.ci
@pytest.mark.timeout(900)
def test_a_short_soak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--trials", str(LEAST_TRIALS), "--batch-size", "1", "--minutes", "8", "--seed", SEED]
    code = main([*args, "--out", str(tmp_path / "it.json")])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "ledger, trials.csv and MLflow agree trial by trial" in printed
    report = json.loads((tmp_path / "it.json").read_text())
    assert sum(report["statuses"].values()) == LEAST_TRIALS
    assert min(report["faults"].values()) >= 1
    assert report["faults_left_out"] == 0
    planned = [asdict(f) for f in schedule(LEAST_TRIALS, int(SEED))]
    assert [one["fault"] for one in report["struck"]] == planned
    assert {m["role"] for m in report["memory"]} == {"driver", "worker", "sender"}
