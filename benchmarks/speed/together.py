"""Several processes that do the same at the same time."""

from collections.abc import Callable
from multiprocessing import get_context
from typing import Any


def together(
    work: Callable[..., None], processes: int, *given: Any, patience_s: float
) -> list[Any]:
    """Run `work(*given, wait, found)` in each process; what they put into `found`.

    `wait(seconds)` returns once all processes have called it.
    """
    context = get_context("spawn")
    barrier, found = context.Barrier(processes), context.Queue()
    words = (*given, barrier.wait, found)
    started = [context.Process(target=work, args=words) for _ in range(processes)]
    for process in started:
        process.start()
    try:
        return [found.get(timeout=patience_s) for _ in started]
    finally:
        for process in started:
            process.join(10)
            process.kill()
