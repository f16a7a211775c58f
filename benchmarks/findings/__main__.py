"""The article's findings, measured: `python -m benchmarks.findings --data FOLDER --out FILE`.

Every run is trained on several seeds and scored once on the test set. The file is written after
each trial, and what it holds already is not run again: a stop loses the trials that were under
way. About half an hour on two cores; `python -m benchmarks.findings.page` makes the page of it.
"""

import argparse
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.environment import environment
from benchmarks.findings.runs import Finished, Plan, TrialContext
from study.config.validate import resolve
from study.signals import interruptible
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import find_source
from tl_core.errors import InputError
from tl_core.files import replace_file
from tl_core.progress import track
from tl_core.runtime import keep_freed_memory
from tl_core.training.train import run_trial


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the file lacks; return the exit code: 0, 2 (bad input) or 130 (interrupted)."""
    args = _parser().parse_args(argv)
    plan = Plan(args.backbone, args.image_size, args.epochs, args.seeds)
    try:
        with interruptible():
            measure(plan.jobs(), args.data, args.cache, args.out, args.processes)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def measure(
    jobs: Sequence[TrialContext], data: str, cache: Path, out: Path, processes: int
) -> None:
    """Run the jobs that `out` lacks, and write it after each.

    Raises `InputError` for images that can't be had or a file of another plan's runs, and what a
    trial raises.
    """
    source = find_source(data, cache)
    sizes = {context.config.image_size for context in jobs}
    images = {size: load_images(source, size, cache) for size in sorted(sizes)}
    done = read(out)
    _refuse_others(out, done, jobs, {found.key for found in images.values()})
    there = {(f.group, f.config) for f in done}
    missing = [context for context in jobs if (context.group, context.config) not in there]
    paths = {size: found.path for size, found in images.items()}
    for finished in run_all(missing, paths, cache, processes):
        done.append(finished)
        _write(out, done)


def _refuse_others(
    out: Path, done: Sequence[Finished], jobs: Sequence[TrialContext], keys: set[str]
) -> None:
    """Runs of other settings or images would stand in the same tables."""
    runs = {(context.group, context.run) for context in jobs}
    for f in done:
        if (f.group, f.run) not in runs or f.data not in keys:
            raise InputError(
                [f"--out {out}: holds runs of other settings or images ({line(f)}); name another"]
            )


def read(path: Path) -> list[Finished]:
    """What a file of findings holds; nothing, if there is none."""
    if not path.exists():
        return []
    return [Finished.model_validate(entry) for entry in json.loads(path.read_text())["runs"]]


def _write(path: Path, done: Iterable[Finished]) -> None:
    runs = [f.model_dump(mode="json") for f in done]
    replace_file(path, json.dumps({"runs": runs}, indent=1))


def run_all(
    jobs: Sequence[TrialContext], paths: dict[int, Path], cache: Path, processes: int
) -> Iterable[Finished]:
    """Yield each job as it ends; its processes are gone when this one stops early."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_settle)
    console = Console(stderr=True, highlight=False)
    try:
        running = [
            pool.submit(run_one, context, paths[context.config.image_size], cache)
            for context in jobs
        ]
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


def _settle() -> None:
    """Set a process up: threads that share the cores wait for each other."""
    keep_freed_memory()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A Ctrl-C is the parent's to act on.


def run_one(context: TrialContext, path: Path, cache: Path) -> Finished:
    """Train one job on the decoded images at `path`, and score it on the test set."""
    images = ImageSet.open(path)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = time.perf_counter()
    result = run_trial(context.config, images, cache, device, read_test=True)
    return Finished(
        group=context.group,
        config=context.config,
        data=images.key,
        images=len(images.labels),
        test=result.test,
        val_accuracy=[epoch.val_accuracy for epoch in result.history],
        wall_s=round(time.perf_counter() - start, 2),
        environment=environment(),
    )


def line(finished: Finished) -> str:
    """One trial, in words."""
    c = finished.config
    return (
        f"{finished.group}: {c.backbone} {c.mode} train_ratio={c.train_ratio:g} "
        f"aux_weight={c.aux_weight} {c.image_size} px, seed {c.seed}: "
        f"test accuracy {finished.test['test_accuracy']:.3f} after {finished.wall_s:.0f} s"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.findings", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--data", required=True, help="a folder of class sub-folders, or demo")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to begin or go on with")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="as in study/run.py")
    parser.add_argument("--image-size", type=int, default=96, help="of networks that learn, pixels")
    parser.add_argument("--seeds", type=int, default=3, help="of each run; frozen ones get 10")
    parser.add_argument("--epochs", type=int, default=2, help="of networks that learn, at 0.8")
    parser.add_argument("--processes", type=int, default=2, help="trials at once, a thread each")
    parser.add_argument("--cache", type=Path, default=resolve({})[0].cache, help="as in study/run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
