"""How far a study has got: a command that changes nothing here was of no use."""

from collections.abc import Iterable

from study.cluster.stores import Bucket, Folder
from study.records.trial_record import ENDED, TrialRecord
from study.trials.trial_context import checkpoint_name
from tl_core.config import FROZEN


def headway(records: Iterable[TrialRecord], storage: Folder | Bucket) -> set[tuple[int, str, int]]:
    """Return what no later command repeats: trials that ended, epochs, and states of networks."""
    reached = set[tuple[int, str, int]]()
    for r in records:
        reached.add((r.trial, "epochs", len(r.history)))
        if r.status in ENDED:
            reached.add((r.trial, "ended", 1))
        elif r.config.mode not in FROZEN and (at := storage.written(checkpoint_name(r.trial))):
            reached.add((r.trial, "state", at))  # An epoch may take longer than a command.
    return {each for each in reached if each[-1]}
