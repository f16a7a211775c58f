"""One thread that runs all jobs of a worker."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future


class JobThread:
    """Runs jobs one after another, always in the same thread.

    Ray Tune runs each trial in a thread of its own. cuDNN keeps the algorithms that it has searched
    for each thread, so every trial would search them again.
    """

    def __init__(self) -> None:
        self._jobs = queue.SimpleQueue[tuple[Future[None], Callable[[], None]]]()
        # A worker that ends does not wait for its job.
        threading.Thread(target=self._serve, name="jobs", daemon=True).start()

    def run(self, job: Callable[[], None]) -> None:
        """Return when the job has ended; raises what it raises, an exit of its thread included."""
        future = Future[None]()
        self._jobs.put((future, job))
        future.result()

    def _serve(self) -> None:
        while True:
            _run(*self._jobs.get())


def _run(future: "Future[None]", job: Callable[[], None]) -> None:
    # A function, so that its end drops the last names of the job and of its exception.
    try:
        job()
    except BaseException as error:  # Ray Tune ends a trial that it stops early by SystemExit.
        future.set_exception(error)
    else:
        future.set_result(None)
