"""What the study hears of a job, and what becomes of the job's trials."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.cluster.capacity import Capacity
from study.errors import NodeError
from study.execution.gpu_health import GpuHealth
from study.execution.jobs import Jobs
from study.execution.study_trials import StudyTrials
from study.execution.tune import _health, _StudyCallback
from study.search.searcher import as_job
from study.trials.sweep import Swept
from study.trials.trial_context import TrialContext
from tests.support.studies.builders import make_epoch, make_settings
from tests.support.studies.counting_journal import CountingJournal
from tests.support.study_fixtures import Patch

DIED = "Worker exit detail: it was killed.\nActorDiedError"


class Study:
    """A study of a few trials of one mode, and what Ray Tune tells it of their job."""

    def __init__(self, folder: Path, mode: str, trials: int, gpus: int = 1) -> None:
        settings = make_settings(
            data="photos", mode=(mode,), train_ratio=(0.1,), trials=trials, epochs=1, name="mine",
            cache=folder, confirm=False, design="joint",
        )  # fmt: skip
        self.journal = CountingJournal()
        self.warned: list[str] = []
        self.journal.warn = lambda record, text: self.warned.append(text)  # type: ignore[method-assign]
        trials_ = StudyTrials(settings, folder, self.journal, None)
        context = TrialContext.here(settings, "images/none", folder)
        self.health, self.jobs = GpuHealth(gpus - 1), Jobs(trials_, context, alone=True)
        callback = _StudyCallback(trials_, self.jobs, self.health)
        self.batch, self.callback = trials_.queue.next(), callback
        self.job = self._job(as_job(self.batch))
        callback.on_trial_start(0, [], self.job)

    def _job(self, config: dict[str, Any]) -> Any:
        return SimpleNamespace(config=config, last_result={}, error_file=None, trial_id="a")

    def tell(self, **result: Any) -> None:
        """The job has reported."""
        plain: dict[str, Any] = {"epochs": [], "warnings": [], "tested": None, "node_ip": "here"}
        self.job.last_result = result if "swept" in result else plain | result
        self.callback.on_trial_result(0, [], self.job, self.job.last_result | {"node_ip": "here"})

    def give(self) -> None:
        """The next job starts."""
        self.batch = self.jobs.next() or []
        config = as_job(self.batch, self.health.retired)
        self.job = self._job(config)
        self.callback.on_trial_start(0, [], self.job)

    def fail(self, gpu: str | None, diverged: bool = False) -> None:
        """The job has failed on a GPU."""
        self.tell(failure="RuntimeError: CUDA", traceback="", gpu=gpu, diverged=diverged)
        self.callback.on_trial_complete(0, [], self.job)

    def statuses(self) -> list[str]:
        """Of all trials."""
        return [record.status for record in self.journal.records]

    def swept(self) -> list[dict[str, Any]]:
        """What a worker sends of a sweep whose second trial has failed."""
        errors = {1: "DivergedError: nan"}
        return [
            Swept(i, () if i in errors else (make_epoch(),), error=errors.get(i)).plain()
            for i in range(len(self.batch))
        ]


def test_a_sweep_of_a_worker_ends_its_trials_each_in_its_way(tmp_path: Path) -> None:
    study = Study(tmp_path, "freeze", trials=3)
    assert study.statuses() == ["running"] * 3
    study.tell(epoch=1, swept=study.swept())
    study.callback.on_trial_complete(0, [], study.job)
    assert study.statuses() == ["done", "failed", "done"]
    assert study.journal.records[1].error == "DivergedError: nan"
    assert (tmp_path / "failures" / "1.txt").is_file()


def test_if_a_worker_dies_its_sweep_is_made_again_and_at_last_all_its_trials_fail(
    tmp_path: Path,
) -> None:
    study = Study(tmp_path, "freeze", trials=3)
    (tmp_path / "error.txt").write_text(DIED)
    study.job.error_file = tmp_path / "error.txt"
    study.callback.on_trial_recover(0, [], study.job)
    assert study.warned == ["worker died: it was killed; another worker continues it"] * 3
    assert study.statuses() == ["running"] * 3
    study.callback.on_trial_error(0, [], study.job)
    assert study.statuses() == ["failed"] * 3
    assert study.journal.records[2].error == "worker died: it was killed"


def test_a_sweep_that_is_made_twice_counts_once(tmp_path: Path) -> None:
    study = Study(tmp_path, "freeze", trials=3)
    study.tell(epoch=1, swept=study.swept())
    # Its worker died before Ray Tune had closed the job.
    study.callback.on_trial_recover(0, [], study.job)
    study.callback.on_trial_start(0, [], study.job)
    study.tell(epoch=1, swept=study.swept())
    study.callback.on_trial_complete(0, [], study.job)
    assert study.statuses() == ["done", "failed", "done"]
    assert len(study.journal.ends) == 3


@pytest.mark.parametrize(("result", "error"), [
    ({"failure": "no space", "disk_full": True}, OSError),
    ({"failure": "no weights", "node_fault": "node 10.0.0.7: no weights"}, NodeError),
])  # fmt: skip
def test_what_would_fail_every_trial_stops_the_study(
    result: dict[str, Any], error: type[Exception], tmp_path: Path
) -> None:
    study = Study(tmp_path, "finetune", trials=1)
    study.tell(**result, traceback="")
    study.callback.on_trial_complete(0, [], study.job)
    assert study.statuses() == ["running"], "it is resumed later"
    with pytest.raises(error, match=r"no weights|no space"):
        study.callback.on_step_end(0, [])


@pytest.mark.parametrize("write", ["start", "epoch", "end"])
def test_a_full_disk_of_the_driver_stops_the_study(
    write: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    study = Study(tmp_path, "finetune", trials=2)
    monkeypatch.setattr(study.journal, write, full)
    study.tell(epochs=[make_epoch().plain()])
    study.callback.on_trial_complete(0, [], study.job)
    study.give()
    with pytest.raises(OSError, match="no space"):
        study.callback.on_step_end(0, [])


def test_a_network_reports_epoch_by_epoch(tmp_path: Path) -> None:
    study = Study(tmp_path, "finetune", trials=1)
    study.tell(epochs=[make_epoch().plain()], warnings=["a damaged checkpoint"])
    study.tell(tested=[{"test_accuracy": 0.5}, "0a1b"])
    study.callback.on_trial_complete(0, [], study.job)
    (record,) = study.journal.records
    assert (record.status, len(record.history), record.test) == ("done", 1, {"test_accuracy": 0.5})
    assert study.warned == ["a damaged checkpoint"]


@pytest.mark.parametrize(("step_s", "sweeps"), [(0.05, 0), (0.125, 1)])
def test_the_driver_sweeps_while_no_job_has_news(
    step_s: float, sweeps: int, tmp_path: Path, monkeypatch: Patch
) -> None:
    study, made = Study(tmp_path, "finetune", trials=1), list[bool]()
    clock = iter([7.0, 7.0 + step_s])
    monkeypatch.setattr("study.execution.tune.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(Jobs, "sweep_one", lambda _: made.append(True))
    study.callback.on_step_begin(0, [])
    study.callback.on_step_end(0, [])
    assert len(made) == sweeps


def test_what_fails_on_a_sick_gpu_is_done_by_another(tmp_path: Path) -> None:
    study = Study(tmp_path, "finetune", trials=3, gpus=2)
    study.fail("0")
    assert study.statuses() == ["interrupted"]
    study.give()
    study.fail("0")
    assert study.health.retired == ["0"]
    assert study.warned == [
        "GPU 0: RuntimeError: CUDA; tried again",
        "GPU 0: RuntimeError: CUDA; tried again",
        "GPU 0 gets no more work: trial 0 twice failed there in a row, and none elsewhere "
        "meanwhile; they are tried on the other GPUs",
    ]
    study.give()  # Its worker finds the GPU retired.
    assert study.job.config["retired"] == ["0"]
    for _ in range(2):
        study.tell(waits=True, gpu="0")
    assert study.job.config["batch"] == []
    waiting = study.job
    for _ in range(4):  # The winner's weights are the last.
        study.give()
        study.tell(epochs=[make_epoch().plain()], gpu="1")
        study.callback.on_trial_complete(0, [], study.job)
    assert study.health.holds("0")
    assert study.jobs.next() is None
    study.callback.on_step_begin(0, [])
    study.callback.on_step_end(0, [])
    assert not study.health.holds("0"), "the job that waits may end"
    study.callback.on_trial_complete(0, [], waiting)
    assert study.statuses() == ["done"] * 4


def test_a_whole_sweep_that_fails_on_a_gpu_is_tried_again(tmp_path: Path) -> None:
    study = Study(tmp_path, "freeze", trials=3, gpus=2)
    swept = [Swept(i, error="RuntimeError: CUDA") for i in range(3)]
    study.tell(epoch=1, swept=[each.plain() for each in swept], gpu="0")
    study.callback.on_trial_complete(0, [], study.job)
    assert study.statuses() == ["interrupted"] * 3
    first = study.batch
    study.give()
    assert study.batch == first
    study.tell(epoch=1, swept=[each.plain() for each in swept], gpu="1")
    study.callback.on_trial_complete(0, [], study.job)
    assert study.statuses() == ["failed"] * 3


@pytest.mark.parametrize(("gpus", "gpu", "diverged"), [
    (1, "0", False), (2, None, False), (2, "0", True),
])  # fmt: skip
def test_a_failure_counts_at_once_if_no_other_gpu_could_do_better(
    gpus: int, gpu: str | None, diverged: bool, tmp_path: Path
) -> None:
    study = Study(tmp_path, "finetune", trials=3, gpus=gpus)
    study.fail(gpu, diverged)
    assert study.statuses() == ["failed"]
    assert study.warned == []


@pytest.mark.parametrize(("address", "gpus", "given", "most"), [
    ("local", 4, {}, 3), ("local", 1, {}, 0), ("local", 0, {}, 0), ("auto", 4, {}, 0),
    ("local", 4, {"jobs": 2}, 1), ("local", 2, {"jobs": 1}, 0),
    ("local", 2, {"trials_per_gpu": 2}, 1), ("local", 1, {"trials_per_gpu": 4}, 0),
])  # fmt: skip
def test_one_place_is_left_when_gpus_are_retired(
    address: str, gpus: int, given: dict[str, Any], most: int
) -> None:
    settings = make_settings(data="photos", address=address, **given)
    assert _health(settings, Capacity.of(settings, gpus, 8)).most == most
