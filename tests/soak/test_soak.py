"""The soak: its schedule, how it follows a study, and a short one on real Ray and MLflow."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from study.records.ledger import Ledger
from study.records.study_folder import LEDGER
from study.records.trial_record import TrialRecord
from tests.soak.__main__ import grown, main
from tests.soak.faults import KINDS, LEAST_TRIALS, OF_THE_SERVER, schedule
from tests.soak.memory import LEAST_TRIALS as LEAST_LIFE
from tests.soak.memory import Sample, Watch, growths, sample
from tests.soak.study import Follower
from tests.support.processes import kill_all, processes
from tests.support.studies.builders import make_config

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


@pytest.mark.parametrize(("mb_a_trial", "wrong"), [
    (0.0, []),
    (0.125, []),
    (-0.5, []),
    (0.25, ["memory of the driver grows by 25.0 MB in 100 trials, at most 20"]),
])  # fmt: skip
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
