"""What Ray reads from its environment does what the study wants of this release."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ray import tune
from ray.air._internal.util import RunnerThread
from ray.train._internal.session import get_session, init_session, shutdown_session
from ray.tune.trainable.function_trainable import FunctionTrainable

from study.cluster.ray_environment import set_ray_environment, worker_environment


@pytest.mark.parametrize("own", [True, False])
def test_the_next_job_of_a_worker_waits_for_a_checkpoint_that_is_being_written(
    own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    set_ray_environment(own)
    if not own:
        monkeypatch.setattr(os, "environ", worker_environment())
    written = threading.Event()

    def trial() -> None:
        try:
            tune.report({"epoch": 1})
        finally:  # It is stopped in `report`.
            written.wait()

    def join(thread: RunnerThread, timeout: float) -> None:
        if timeout > 60:  # Such a store is slow.
            written.set()
        threading.Thread.join(thread, timeout)

    monkeypatch.setattr(RunnerThread, "join", join)
    nothing = dict.fromkeys(("resources", "driver_ip", "driver_node_id"))
    trial_info = SimpleNamespace(
        name="a", id="a", logdir=str(tmp_path), experiment_name="ray", **nothing
    )
    ranks = ("world_rank", "local_rank", "node_rank", "local_world_size", "world_size")
    storage = MagicMock(trial_working_directory=str(tmp_path))
    init_session(
        training_func=trial, trial_info=trial_info, storage=storage,
        synchronous_result_reporting=True, **dict.fromkeys(ranks),
    )  # fmt: skip
    try:
        session: Any = get_session()
        session.start()
        assert session.get_next().metrics["epoch"] == 1
        worker: Any = FunctionTrainable
        job = MagicMock(_storage=storage)
        assert worker.reset_config(job, {}), "Ray Tune fails the next job otherwise"
    finally:
        written.set()
        shutdown_session()  # type: ignore[no-untyped-call]
