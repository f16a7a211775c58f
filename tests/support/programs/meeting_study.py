"""A driver whose networks wait until enough nodes have had one; tests run it as a program.

Ray Tune gives a trial to whichever worker is up, and on a slow machine the first one may be through
with all before the last is. Its first argument is a folder that all hosts see; what follows is the
command line of a study. The folder's file `WANTED` says how many nodes are enough.
"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from study import run
from study.cluster.ray_environment import set_ray_environment
from study.search.searcher import keep_place
from study.trials.trial_context import TrialContext
from tl_core.config import FROZEN

WANTED = "wanted"


def run_together(folder: Path, drawn: dict[str, Any], context: TrialContext) -> None:
    """Run a trial in a worker; with a network, not before others have come."""
    keep_place(drawn, None)
    import ray

    from study.trials.worker import run_in_worker

    end = time.monotonic() + 300
    if drawn["mode"] not in FROZEN:
        (folder / f"node-{ray.get_runtime_context().get_node_id()}").touch()
        while len(list(folder.glob("node-*"))) < int((folder / WANTED).read_text()):
            if time.monotonic() > end:
                raise TimeoutError("too few nodes have had a network")
            time.sleep(0.05)
    run_in_worker(drawn, context)


def main(folder: Path, words: list[str]) -> int:
    """Run the study."""
    set_ray_environment(own=False)
    from study.execution import search

    search.search = partial(search.search, run=partial(run_together, folder))
    return run.main(words)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
