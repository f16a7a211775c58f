import gc
import sys
import threading
import weakref

import pytest

from study.trials.worker import JobThread


class Big:
    """Something that a job holds."""


def test_all_jobs_have_one_thread_and_one_that_fails_ends_none_of_the_others() -> None:
    jobs, seen = JobThread(), list[int]()

    def fail() -> None:
        raise ValueError("no image")

    jobs.run(lambda: seen.append(threading.get_ident()))
    with pytest.raises(ValueError, match="no image"):
        jobs.run(fail)
    with pytest.raises(SystemExit):
        jobs.run(lambda: sys.exit(0))
    jobs.run(lambda: seen.append(threading.get_ident()))
    assert seen[0] == seen[1] != threading.get_ident()


def test_what_a_job_held_is_free_after_it() -> None:
    jobs, held = JobThread(), list[weakref.ref[Big]]()

    def fail() -> None:
        big = Big()
        held.append(weakref.ref(big))
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        jobs.run(fail)
    jobs.run(lambda: None)
    gc.collect()
    assert held[0]() is None
