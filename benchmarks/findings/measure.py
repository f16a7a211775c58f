"""What both commands of the findings do: their common flags, and the trials that a file lacks."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.findings.runs import Planned, line, read, run_all
from study.config.validate import resolve
from study.signals import EXIT_CODE, interruptible
from tl_core.data.datasets import load_images
from tl_core.data.sources import find_source
from tl_core.errors import InputError
from tl_core.files import replace_file


def make_parser(program: str, about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the flags that both commands have."""
    parser = argparse.ArgumentParser(f"python -m {program}", description=about, allow_abbrev=False)
    parser.add_argument("--data", required=True, help="a folder of class sub-folders, or demo")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to start or resume")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="as in study/run.py")
    parser.add_argument("--image-size", type=int, default=128, help="of the whole network, pixels")
    parser.add_argument("--processes", type=int, default=2, help="trials at once, a thread each")
    parser.add_argument("--cache", type=Path, default=resolve({})[0].cache, help="as in study/run")
    return parser


def exit_code(run: Callable[[], None]) -> int:
    """Run a command; return 0, 2 (bad input) or 130 (interrupted)."""
    try:
        with interruptible():
            run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return EXIT_CODE
    return 0


def measure(
    trials: Sequence[Planned],
    data: str,
    cache: Path,
    out: Path,
    processes: int,
    known: Sequence[Planned] = (),
) -> None:
    """Run the trials that `out` lacks, and write it after each; it may hold other `known` ones.

    Raises `InputError` for images that are unavailable or a file of another plan's runs, and what a
    trial raises.
    """
    source = find_source(data, cache)
    sizes = {trial.config.image_size for trial in trials}
    images = {size: load_images(source, size, cache) for size in sorted(sizes)}
    done = read(out)
    runs, keys = (
        {(t.group, t.run) for t in (*trials, *known)},
        {found.content for found in images.values()},
    )
    for f in done:  # Runs of other settings or images must not share a table.
        if (f.group, f.run) not in runs or f.data not in keys:
            raise InputError(
                [f"--out {out}: holds runs of other settings or images ({line(f)}); name another"]
            )
    have = {(f.group, f.config) for f in done}
    missing = [trial for trial in trials if (trial.group, trial.config) not in have]
    for finished in run_all(missing, images, cache, processes):
        done.append(finished)
        replace_file(out, as_lines([f.model_dump(mode="json") for f in done]))


def as_lines(runs: Sequence[dict[str, Any]]) -> str:
    """Return a file of runs as JSON, one run a line."""
    return '{"runs": [\n' + ",\n".join(map(json.dumps, runs)) + "\n]}\n"
