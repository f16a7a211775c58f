"""A study on logical GPUs, with something else in the place of its trials.

A logical GPU is a number in Ray's books, so a two-core machine can play one with sixteen.
"""

import os
from pathlib import Path
from typing import Any

from study.cluster.capacity import Capacity
from study.cluster.local_ray import local_ray
from study.config.validate import resolve
from study.execution.trial_context import TrialContext
from study.execution.tune import Run, search
from study.records.journal import Journal


def run_logical(
    given: dict[str, Any],
    gpus: int,
    folder: Path,
    journal: Journal,
    run: Run,
    told: dict[str, Any],
) -> None:
    """Run a study that confirms nothing, on a Ray of its own.

    Args:
        given: its settings, beside those that all of these studies have.
        gpus: logical ones; each trial on them has two of Ray's cores.
        folder: gets all files; a short path.
        journal: hears of the trials.
        run: what a worker does.
        told: environment variables of the workers.
    """
    os.environ |= {name: str(value) for name, value in ({"RAY_TMPDIR": folder} | told).items()}
    places = {"out": folder, "cache": folder / "cache", "gpus": gpus}
    settings, faults = resolve(
        {"name": "logical", "precision": "fp32", "confirm": False} | places | given
    )
    assert not faults, faults
    cpus = 2 * max(1, gpus) * settings.trials_per_gpu
    context = TrialContext.here(settings, "images/none", folder)
    with local_ray(gpus, cpus):
        search(settings, context, Capacity.of(settings, gpus, cpus), folder, journal, run=run)
