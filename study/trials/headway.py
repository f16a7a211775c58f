"""How far a study has got: a command that changes nothing here was of no use."""

import time
from collections.abc import Iterable

from study.cluster.stores import Bucket, Folder
from study.preflight.prepare import Prepared
from study.records.trial_record import ENDED, TrialRecord
from study.trials.trial_context import TrialContext, checkpoint_name
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


def made_now(prepared: Prepared, context: TrialContext) -> bool:
    """Return whether this command has decoded the images, or run the frozen network."""
    names = (*filter(None, [context.features]), *context.activations)
    entries = (prepared.images.path, *(context.cache / name for name in names))
    age_s = time.time() - max(entry.stat().st_mtime for entry in entries)
    return age_s < time.monotonic() - prepared.started
