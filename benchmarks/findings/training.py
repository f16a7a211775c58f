"""Training the runs of the findings in processes of their own.

Apart from the command line, since a process can't import a package's `__main__`.
"""

import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.common import environment
from benchmarks.findings.runs import Finished, Planned
from tl_core.data.datasets import ImageSet
from tl_core.progress import track
from tl_core.runtime import keep_freed_memory
from tl_core.training.train import run_trial


def run_all(
    trials: Sequence[Planned], images: dict[int, ImageSet], cache: Path, processes: int
) -> Iterator[Finished]:
    """Yield each trial as it ends. Its processes end when this one stops early."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_set_up)
    console = Console(stderr=True, highlight=False)
    try:
        running = [pool.submit(_run, t, images[t.config.image_size].path, cache) for t in trials]
        for future in track(as_completed(running), len(running), "Training"):
            finished = future.result()
            console.print(line(finished), soft_wrap=True)
            yield finished
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _set_up() -> None:
    """Set a process up; with more threads than cores they wait for each other."""
    keep_freed_memory()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles Ctrl-C.


def _run(trial: Planned, path: Path, cache: Path) -> Finished:
    """Train one trial on the decoded images at `path`, and score it on the test set."""
    images = ImageSet.open(path)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = time.perf_counter()
    result = run_trial(trial.config, images, cache, device, read_test=True)
    return Finished(
        group=trial.group,
        config=trial.config,
        data=images.key,
        images=len(images.labels),
        test=result.test,
        val_accuracy=[epoch.val_accuracy for epoch in result.history],
        wall_s=round(time.perf_counter() - start, 2),
        environment=environment(),
    )


def line(finished: Finished) -> str:
    """One trial on one line."""
    c = finished.config
    return (
        f"{finished.group}: {c.backbone} {c.mode} train_ratio={c.train_ratio:g} "
        f"aux_weight={c.aux_weight} {c.image_size} px, seed {c.seed}: "
        f"test accuracy {finished.test['test_accuracy']:.3f} after {finished.wall_s:.0f} s"
    )
