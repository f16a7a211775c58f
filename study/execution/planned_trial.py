"""A planned trial in whichever process runs it: trained, scored, and kept if it is the winner."""

import tempfile
from pathlib import Path

from study.cluster.stores import Storage, contents
from study.records.study_folder import WINNER
from study.search.confirmation import Planned
from tl_core.config import Report
from tl_core.inference.winner import save_winner
from tl_core.training.checkpoints import CheckpointStore
from tl_core.training.setup import Inputs
from tl_core.training.train import run_trial


def run_planned(
    planned: Planned,
    inputs: Inputs,
    storage: Storage,
    report: Report,
    checkpoint: CheckpointStore | None = None,
) -> dict[str, float]:
    """Run one trial and return its test scores; the study's storage gets a winner's weights."""
    config, i = planned.config, inputs
    result = run_trial(
        config, i.images, i.cache, i.device, report, planned.tests, checkpoint, verify=i.verify
    )
    if planned.winner:
        with tempfile.TemporaryDirectory() as folder:
            save_winner(Path(folder), result, config, i.images)
            storage.replace(WINNER, contents(Path(folder)))
    return result.test
