"""A study on two cores whose networks all wait for a frozen trial; a test runs it as a program."""

import sys
import time
from pathlib import Path
from typing import Any

from study.cluster.ray_environment import set_ray_environment

set_ray_environment()

from study.cluster.capacity import Capacity  # noqa: E402
from study.cluster.local_ray import local_ray  # noqa: E402
from study.execution.trial_context import TrialContext  # noqa: E402
from study.execution.tune import search  # noqa: E402
from study.execution.worker import Reporter  # noqa: E402
from tests.support.studies.builders import make_epoch, make_settings  # noqa: E402
from tests.support.studies.counting_journal import CountingJournal  # noqa: E402

MODES = ("finetune", "scratch", "freeze")
"""The first two take both cores before the third is drawn."""


def wait_for_frozen(drawn: dict[str, Any], context: TrialContext) -> None:
    """Stand for a trial: end once a frozen trial has run."""
    mark = context.cache / "frozen"
    if drawn["mode"] == "freeze":
        mark.touch()
    end = time.monotonic() + 60
    while not mark.exists():
        if time.monotonic() > end:
            raise TimeoutError("no frozen trial ran beside those that learn")
        time.sleep(0.05)
    Reporter("val_log_loss", every_s=0).epoch(make_epoch(1))


def main() -> int:
    """Run it; return how many trials did not end well."""
    settings = make_settings(
        data="photos",
        mode=MODES,
        train_ratio=["0.4"],
        trials=3,
        epochs=1,
        cache=Path(),
        name="w",
        confirm=False,
    )
    journal = CountingJournal()
    with local_ray(0, 2):
        context, capacity = (
            TrialContext.here(settings, "images/none", Path()),
            Capacity.of(settings, 0, 2),
        )
        search(settings, context, capacity, Path(), journal, run=wait_for_frozen)
    # The fourth is the winner once more, for its weights.
    print([(record.config.mode, record.status, record.error) for record in journal.records])
    return sum(record.status != "done" for record in journal.records) + abs(4 - len(journal.ends))


if __name__ == "__main__":
    sys.exit(main())
