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
from tests.soak.faults import KINDS, OF_THE_SERVER, schedule
from tests.soak.memory import LEAST_TRIALS, Sample, Watch, growths, sample
from tests.soak.study import Follower
from tests.support.processes import kill_all, processes
from tests.support.studies.builders import make_config, make_epoch

Runs = list[tuple[str, RunState]]
Hurt = Callable[[Runs], object]
ID = "0123"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("trials", [20, 24, 500])
def test_the_schedule_is_that_of_its_seed_and_has_every_kind(trials: int, seed: int) -> None:
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
    with pytest.raises(ValueError, match=r"^19 trials are too few for a fault of each kind: 20$"):
        schedule(19, 0)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Runs]:
    """A study of three trials, the first of which was cut once, as it really lies in a store."""
    home = tmp_path_factory.mktemp("sent")
    uri = f"sqlite:///{home}/mlflow.db"
    _write(home / "mine")
    delivery = LedgerSync(home / "mine", MlflowWriter(uri))
    assert delivery.push() is None
    delivery.close()
    return home / "mine", read_runs(MlflowClient(uri), ID)


def _write(folder: Path) -> None:
    folder.mkdir()
    ledger = Ledger(folder)
    settings = {"debug": False, "metric": "val_log_loss", "aux_weight": [0.0]}
    about = {"id": ID, "settings": settings, "data": {"classes": {"cat": 1}}}
    ledger.study("mine", about)
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


@pytest.fixture
def folder(sent: tuple[Path, Runs], tmp_path: Path) -> Path:
    """The study's files, to be changed."""
    for name in (LEDGER, "trials.csv"):
        (tmp_path / name).write_bytes((sent[0] / name).read_bytes())
    return tmp_path


@pytest.fixture
def runs(sent: tuple[Path, Runs]) -> Runs:
    """The study's runs, to be changed."""
    return [(key, _copy(run)) for key, run in sent[1]]


def _copy(run: RunState) -> RunState:
    told = {name: list(values) for name, values in run.told.items()}
    return replace(run, params=dict(run.params), metrics=dict(run.metrics), told=told)


def test_what_agrees_is_found_to_agree(folder: Path, runs: Runs) -> None:
    assert check(folder, 3, runs) == []


def _of(runs: Runs, key: str) -> RunState:
    return dict(runs)[key]


@pytest.mark.parametrize(
    ("hurt", "found"),
    [
        (lambda r: r.pop([key for key, _ in r].index("1")), "trial 1: not in MLflow"),
        (lambda r: r.append(("1", _of(r, "1"))), "trial 1: 2 times in MLflow"),
        (lambda r: r.append(("stray run 7", _of(r, "1"))), "stray run 7: in MLflow alone"),
        (lambda r: r.append(("3", _of(r, "1"))), "trial 3: in MLflow alone"),
        (
            lambda r: setattr(_of(r, "1"), "status", "RUNNING"),
            "trial 1, status: MLflow 'RUNNING', ledger 'FINISHED'",
        ),
        (
            lambda r: setattr(_of(r, "study"), "status", "RUNNING"),
            "study, status: MLflow 'RUNNING', ledger 'FINISHED'",
        ),
        (
            lambda r: _of(r, "study").metrics.update(best_val_log_loss=0.7),
            "study, metrics best_val_log_loss: MLflow 0.7, ledger 0.5",
        ),
        (
            lambda r: setattr(_of(r, "1"), "parent", ""),
            "trial 1, parent: MLflow '', ledger 'study'",
        ),
        (
            lambda r: _of(r, "1").params.update(lr="0.5"),
            "trial 1, params lr: MLflow '0.5', ledger '0.05'",
        ),
        (
            lambda r: _of(r, "1").metrics.update(val_log_loss=0.7),
            "trial 1, metrics val_log_loss: MLflow 0.7, ledger 1.5",
        ),
        (
            lambda r: _of(r, "1").told["val_log_loss"].pop(0),
            "trial 1, told val_log_loss: MLflow [(2, 1.5)], ledger [(1, 0.7), (2, 1.5)]",
        ),
        (
            lambda r: _of(r, "0").told["wall_s"].insert(0, (1, 0.25)),
            "trial 0, told wall_s: MLflow [(1, 0.25), (1, 0.25), (2, 1.0)], "
            "ledger [(1, 0.25), (2, 1.0)]",
        ),
        (
            lambda r: _of(r, "1").told.update(strange=[(1, 1.0)]),
            "trial 1, told strange: MLflow [(1, 1.0)], ledger None",
        ),
    ],
)
def test_what_is_wrong_in_mlflow_is_found(folder: Path, runs: Runs, hurt: Hurt, found: str) -> None:
    hurt(runs)
    assert check(folder, 3, runs) == [found]


@pytest.mark.parametrize(
    ("hurt", "found"),
    [
        (lambda rows: rows[:2], ["trial 2: not in trials.csv"]),
        (lambda rows: [*rows, rows[1]], ["trial 1: 2 times in trials.csv"]),
        (
            lambda rows: [*rows, {**rows[1], "trial": 3}],
            ["trial 3: in trials.csv alone"],
        ),
        (
            lambda rows: [*rows[:2], {**rows[2], "val_accuracy": 0.5, "status": "pruned"}],
            [
                "trial 2, status: trials.csv 'pruned', ledger 'done'",
                "trial 2, val_accuracy: trials.csv '0.5', ledger 0.875",
            ],
        ),
    ],
)
def test_what_is_wrong_in_the_table_is_found(
    folder: Path, runs: Runs, hurt: Callable[[list[dict[str, object]]], object], found: list[str]
) -> None:
    rows = pd.read_csv(folder / "trials.csv").to_dict("records")
    pd.DataFrame(hurt(rows)).to_csv(folder / "trials.csv", index=False)
    assert check(folder, 3, runs) == found


def test_what_is_wrong_in_the_ledger_is_found(folder: Path, runs: Runs) -> None:
    lines = [json.loads(line) for line in (folder / LEDGER).read_text().splitlines()]
    short = [e for e in lines if (e["event"], e.get("trial")) != ("end", 2)]
    (folder / LEDGER).write_text("".join(json.dumps(e) + "\n" for e in short))
    assert "trial 2: running after 2 epochs" in check(folder, 3, runs)
    (folder / LEDGER).write_text("".join(json.dumps(e) + "\n" for e in lines[:-1]))
    assert check(folder, 3, runs) == ["ledger: the study is 'running', not 'done'"]


def test_the_number_of_trials_is_held_against_what_was_asked_for(folder: Path, runs: Runs) -> None:
    (found,) = check(folder, 4, runs)
    assert found == "ledger: 3 trials of the search instead of 4, or other numbers"


def test_the_follower_counts_what_has_ended_as_the_ledger_grows(tmp_path: Path) -> None:
    follower = Follower(tmp_path / LEDGER)
    assert follower.ended() == 0
    ledger = Ledger(tmp_path)
    record = TrialRecord(0, make_config(), "interrupted")
    ledger.end(record, [])
    assert follower.ended() == 0
    record.status = "done"
    ledger.end(record, [])
    assert follower.ended() == 1
    ledger.end(record, [])
    assert follower.ended() == 1


def life(trials: int, mb_a_trial: float, process: int = 1) -> list[Sample]:
    """A process that grows evenly."""
    return [Sample(n, "driver", process, 300 + mb_a_trial * n, 900.0) for n in range(trials + 1)]


@pytest.mark.parametrize("mb_a_trial", [0.0, 0.25, -0.5])
def test_growth_is_that_of_the_longest_life(mb_a_trial: float) -> None:
    (found,) = growths(life(400, mb_a_trial) + life(150, 7, process=2))
    assert (found.lives, found.trials, found.peak_rss_mb) == (2, 399, 900)
    assert found.mb_per_100_trials == pytest.approx(100 * mb_a_trial)


def test_the_report_after_the_last_trial_is_no_growth() -> None:
    report = [Sample(400, "driver", 1, 2000.0, 2000.0)] * 200
    (found,) = growths(life(400, 0.0) + report)
    assert (found.mb_per_100_trials, found.peak_rss_mb) == (0, 900)


def test_growth_beyond_the_bound_is_told() -> None:
    assert grown(growths(life(400, 0.125))) == []
    (found,) = grown(growths(life(400, 0.25)))
    assert found == "memory of the driver grows by 25.0 MB in 100 trials, at most 20"


def test_a_short_life_tells_nothing_of_growth() -> None:
    (found,) = growths(life(LEAST_TRIALS - 1, 1))
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


def test_processes_are_told_by_the_folder_of_their_ray(
    sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    assert list(processes(tmp_path / "other")) == []
    kill_all(tmp_path)
    assert sleeper.wait() == -signal.SIGKILL
    assert list(processes(tmp_path)) == []
    assert sample("driver", sleeper.pid, 0) is None


def test_memory_is_watched(sleeper: "subprocess.Popen[bytes]") -> None:
    with Watch(lambda: {"worker": [sleeper.pid], "driver": []}, lambda: 7) as watch:
        while not watch.samples:
            time.sleep(0.05)
    found = watch.samples[0]
    assert (found.trials, found.role, found.process) == (7, "worker", sleeper.pid)
    assert 1 < found.anon_mb < found.rss_mb < 100


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_short_soak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--trials", "24", "--batch-size", "1", "--minutes", "8", "--seed", "1"]
    code = main([*words, "--out", str(tmp_path / "it.json")])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "ledger, trials.csv and MLflow agree trial by trial" in printed
    report = json.loads((tmp_path / "it.json").read_text())
    assert sum(report["statuses"].values()) == 24
    assert set(report["faults"]) == set(KINDS)
    assert min(report["faults"].values()) >= 1
    assert report["faults_left_out"] == 0
    assert [one["fault"] for one in report["struck"]] == [asdict(f) for f in schedule(24, 1)]
    assert {m["role"] for m in report["memory"]} == {"driver", "worker", "sender"}
