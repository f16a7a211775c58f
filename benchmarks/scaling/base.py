"""What the parts of `benchmarks.scaling.__main__` share: tables of plain values, and timing."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Row = dict[str, str | int | float]
Tables = dict[str, list[Row]]
"""Title -> rows, all with the same columns; a column's name ends in its unit."""
_PATIENCE_S = 500.0


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards; its path is short, as Ray's sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="tl"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def seconds(do: Callable[[], object]) -> float:
    """How long `do` takes."""
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def median_ms(times_s: list[float]) -> float:
    """Median of times in seconds, in milliseconds."""
    return statistics.median(times_s) * 1000


def figures(value: float, digits: int = 3) -> float:
    """Keep the digits that a measurement on a busy machine can bear."""
    return float(f"{value:.{digits}g}")


def meet(folder: Path, workers: int) -> None:
    """Return once as many workers are here: a slow start is no part of what is timed."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + _PATIENCE_S
    while len(list(folder.iterdir())) < workers:
        if time.monotonic() > end:
            raise TimeoutError(f"fewer than {workers} workers after {_PATIENCE_S:g} s")
        time.sleep(0.1)
