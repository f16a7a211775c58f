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

from benchmarks.speed.row_names import ROWS, unknown  # noqa: E402
from study.signals import interruptible  # noqa: E402

_EXIT_CODES = """\
exit codes: 0 all measured (a missed target is told, and no failure), 1 a gate failed or a row
broke, 2 bad input, 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.list:
        for name, entry in ROWS.items():
            print(f"{name:16} {entry.about}")
        return 0
    fault = unknown(given.rows) or _fault(given)
    if fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    # Ray's sockets lie elsewhere; what is written here is removed whatever happens.
    with interruptible(), tempfile.TemporaryDirectory(prefix="tl-benchmarks-") as scratch:
        return _run(given, Path(scratch))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Measure what is claimed about speed and memory.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure (default all)")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--data", default="demo", help="a folder of class sub-folders, or demo")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="as in study/run.py")
    parser.add_argument("--image-size", type=int, help="pixels (default 128; quick: 64)")
    parser.add_argument("--repeats", type=int, help="of each row (default 5; quick: 1)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks.json"), help="JSON file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    return parser


def _fault(given: argparse.Namespace) -> str | None:
    if given.repeats is not None and given.repeats < 1:
        return f"--repeats {given.repeats}: must be 1 or more"
    if not given.out.resolve().parent.is_dir():
        return f"--out {given.out}: its folder does not exist"
    return None


def _run(given: argparse.Namespace, scratch: Path) -> int:
    from benchmarks.speed.bench import Bench
    from benchmarks.speed.run import Run
    from tl_core.errors import InputError
    from tl_core.runtime import keep_freed_memory

    keep_freed_memory()  # As `study/run.py` does.
    start = time.perf_counter()

    def tell(line: str) -> None:
        print(f"[{time.perf_counter() - start:6.1f} s] {line}", file=sys.stderr, flush=True)

    size = given.image_size or (64 if given.quick else 128)
    repeats = given.repeats or (1 if given.quick else 5)
    bench = Bench(given.data, given.backbone, size, repeats, given.quick, scratch, tell)
    run = Run(bench, given.out, _about(given, size, repeats))
    try:
        return run.measure(given.rows or list(ROWS))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        # A file has no width, and a table squeezed into 80 columns is hard to read.
        width = None if sys.stdout.isatty() else 160
        run.show(Console(width=width, markup=False, emoji=False))


def _about(given: argparse.Namespace, size: int, repeats: int) -> dict[str, Any]:
    told = {"data": given.data, "backbone": given.backbone, "image_size": size}
    return told | {"repeats": repeats, "quick": given.quick}


if __name__ == "__main__":
    sys.exit(main())
