"""A study over four logical GPUs whose networks wait until all four have one; a test runs it.

Its frozen trials, drawn among the networks, are made up: one that is short by the driver, one that
is long by a worker.
"""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.cluster.ray_environment import set_ray_environment
from study.search.searcher import keep_place

set_ray_environment()

import ray  # noqa: E402
from ray import tune  # noqa: E402

from study.cluster.capacity import Capacity  # noqa: E402
from study.cluster.local_ray import local_ray  # noqa: E402
from study.execution import jobs  # noqa: E402
from study.execution.search import search  # noqa: E402
from study.search.confirmation import Planned  # noqa: E402
from study.search.queue import is_frozen  # noqa: E402
from study.trials.sweep import Swept, number_of  # noqa: E402
from study.trials.trial_context import TrialContext  # noqa: E402
from study.trials.worker import Reporter  # noqa: E402
from tests.support.studies.builders import make_epoch, make_settings  # noqa: E402
from tests.support.studies.counting_journal import CountingJournal  # noqa: E402

GPUS, TRIALS = 4, 24
PATIENCE_S = 200.0


def swept(batch: Sequence[Planned], *_: object) -> list[Swept]:
    """Stand for a sweep."""
    return [Swept(number_of(p), (make_epoch(),)) for p in batch]


def run(drawn: dict[str, Any], context: TrialContext) -> None:
    """Stand for a job: a network ends once each GPU has had one."""
    keep_place(drawn, None)
    batch = [Planned.of(each) for each in drawn["batch"]]
    if is_frozen(batch[0]):
        tune.report({"epoch": 1, "swept": [each.plain() for each in swept(batch)]})
        return
    (gpu,) = ray.get_gpu_ids()
    (context.cache / f"gpu-{gpu}").touch()
    end = time.monotonic() + PATIENCE_S
    while len(list(context.cache.glob("gpu-*"))) < GPUS:
        if time.monotonic() > end:
            raise TimeoutError(f"fewer than {GPUS} GPUs have had a network")
        time.sleep(0.05)
    Reporter("val_log_loss").epoch(make_epoch())


def main() -> int:
    """Run it, and print how many trials of each mode have ended, and where."""
    settings = make_settings(
        data="photos", mode=("finetune", "freeze"), train_ratio=(0.1, 0.4), design="joint",
        trials=TRIALS, epochs=1, cache=Path(), name="four", confirm=False,
    )  # fmt: skip
    for name, value in {"sweep": swept, "is_short": lambda c, _: c.train_ratio < 0.2}.items():
        setattr(jobs, name, value)
    for name in ("_inputs", "_shape"):
        setattr(jobs.Jobs, name, None)
    journal = CountingJournal()
    context = TrialContext.here(settings, "images/none", Path())
    with local_ray(GPUS, GPUS):
        search(settings, context, Capacity.of(settings, GPUS, GPUS), Path(), journal, run=run)
    ended = Counter((r.config.mode, r.status) for r in journal.records if r.kind == "search")
    print(dict(ended), [r.error for r in journal.records if r.error])
    # Another one is the winner once more, for its weights.
    done = [r for r in journal.records if r.status == "done"]
    return abs(TRIALS + 1 - len(done)) + (len({mode for mode, _ in ended}) - 2)


if __name__ == "__main__":
    sys.exit(main())
