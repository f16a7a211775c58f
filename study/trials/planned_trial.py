"""A planned trial in whichever process runs it: trained, scored, and kept if it is the winner."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from study.cluster.stores import Storage, contents
from study.records.outputs import keep_outputs
from study.records.study_folder import WINNER
from study.search.confirmation import Planned
from tl_core.aux_task import AuxTask
from tl_core.config import Report
from tl_core.inference.winner import save_winner
from tl_core.objectives.outputs import Outputs
from tl_core.training.checkpoints import EVERY_S, CheckpointStore
from tl_core.training.setup import Inputs
from tl_core.training.train import run_trial


class FinalScores(NamedTuple):
    """What a trial has made of the test set."""

    scores: dict[str, float]
    """`test_accuracy` and so on; empty unless the test set was read."""
    outputs: str | None = None
    """Hash of the file of its outputs, if they were kept."""


def run_planned(
    planned: Planned,
    inputs: Inputs,
    storage: Storage,
    report: Report,
    checkpoint: CheckpointStore | None = None,
    checkpoint_every: float = EVERY_S,
) -> FinalScores:
    """Run one trial; keep a winner's weights, or a confirming trial's outputs, in `storage`."""
    config, i = planned.config, inputs
    given = (config, i.images, i.cache, i.device, report, planned.tests, checkpoint)
    result = run_trial(*given, verify=i.verify, checkpoint_every=checkpoint_every)
    if planned.winner:
        with tempfile.TemporaryDirectory() as folder:
            save_winner(Path(folder), result, config, i.images)
            storage.replace(WINNER, contents(Path(folder)))
    return final_scores(planned, result.test, result.outputs, storage, i.images.aux.task)


def final_scores(
    planned: Planned,
    scores: dict[str, float],
    outputs: dict[str, Outputs],
    storage: Storage,
    task: AuxTask,
) -> FinalScores:
    """Keep the outputs of a trial that confirms; a winner repeats those of another one."""
    keeps = planned.tests and not planned.winner
    kept = keep_outputs(storage, number_of(planned), outputs, task) if keeps else None
    return FinalScores(scores, kept)


def number_of(planned: Planned) -> int:
    """The number of a trial that the queue has given one."""
    assert planned.trial is not None
    return planned.trial
