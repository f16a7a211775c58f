"""The command line: `python -m benchmarks`, from the root of the repository."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.cluster.ray_environment import set_ray_environment

set_ray_environment()  # Before anything imports Ray.

from rich.console import Console  # noqa: E402

from benchmarks.speed.bench import Bench  # noqa: E402
from benchmarks.speed.run import ROWS, Run  # noqa: E402
from study.signals import interruptible  # noqa: E402
from tl_core.errors import InputError  # noqa: E402
from tl_core.runtime import keep_freed_memory  # noqa: E402

_GPU = "gpu"
_EXIT_CODES = """\
`python -m benchmarks gpu` checks a machine with a GPU instead, in 8 minutes; --help after it

exit codes: 0 all rows measured (a missed target is reported and is no failure), 1 a gate failed
or a row broke, 2 bad input, 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] == _GPU:
        from benchmarks.gpu.command import main as check_gpu

        return check_gpu(words[1:])
    args = _parser().parse_args(words)
    if args.list:
        for name, (_, about) in ROWS.items():
            print(f"{name:16} {about}")
        return 0
    if faults := _faults(args):
        for fault in faults:
            print(f"error: {fault}", file=sys.stderr)
        return 2
    # Ray's sockets are elsewhere. This folder is removed however the run ends.
    with interruptible(), tempfile.TemporaryDirectory(prefix="tl-benchmarks-") as scratch:
        return _run(args, Path(scratch))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Measure what is claimed about speed and memory.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure (default all)")
    parser.add_argument("--list", action="store_true", help="list the rows and exit")
    parser.add_argument("--data", default="demo", help="a folder of class sub-folders, or demo")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="as in study/run.py")
    parser.add_argument("--image-size", type=int, help="pixels (default 128; quick: 64)")
    parser.add_argument("--repeats", type=int, help="of each row (default 5; quick: 1)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks.json"), help="JSON file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    return parser


def _faults(args: argparse.Namespace) -> list[str]:
    faults = []
    if unknown := [name for name in args.rows if name not in ROWS]:
        faults.append(f"unknown row {', '.join(unknown)}; the rows are {', '.join(ROWS)}")
    if args.repeats is not None and args.repeats < 1:
        faults.append(f"--repeats {args.repeats}: must be 1 or more")
    if not args.out.resolve().parent.is_dir():
        faults.append(f"--out {args.out}: its folder does not exist")
    return faults


def _run(args: argparse.Namespace, scratch: Path) -> int:
    keep_freed_memory()  # As `study/run.py` does.
    start = time.perf_counter()

    def log(line: str) -> None:
        print(f"[{time.perf_counter() - start:6.1f} s] {line}", file=sys.stderr, flush=True)

    size = args.image_size or (64 if args.quick else 128)
    repeats = args.repeats or (1 if args.quick else 5)
    options: dict[str, Any] = {"data": args.data, "backbone": args.backbone, "image_size": size}
    options |= {"repeats": repeats, "quick": args.quick}
    bench = Bench(args.data, args.backbone, size, repeats, args.quick, scratch, log)
    run = Run(bench, args.out, options)
    try:
        return run.measure(args.rows or list(ROWS))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        # A file has no width, and a table in 80 columns is hard to read.
        width = None if sys.stdout.isatty() else 160
        run.show(Console(width=width, markup=False, emoji=False))


if __name__ == "__main__":
    sys.exit(main())
