"""Progress of long work: a bar with an ETA on a terminal, one line elsewhere."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
_COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)


def track(
    items: Iterable[Item], total: int, doing: str, weight: int = 1, before: int = 0
) -> Iterator[Item]:
    """Yield `items` and show how many of `total` are done.

    `weight` is how many of the `total` one item stands for (a batch of 256 images: 256); `before`
    is how many were done before.
    """
    # What is done may name a folder, whose name may look like rich's markup.
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    start = time.perf_counter()
    with Progress(*_COLUMNS, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(doing, total=total, completed=before)
        done = before
        for item in items:
            yield item
            done = min(total, done + weight)
            bar.update(task, completed=done)
    if not console.is_terminal:
        made = f"{done - before} in {time.perf_counter() - start:.1f} s"
        there = f", {before} were there" if before else ""
        console.print(f"{doing}: {made}{there}", soft_wrap=True)
