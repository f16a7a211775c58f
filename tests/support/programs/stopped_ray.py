"""A Ray that SIGTERM stops, and a clean-up that takes five seconds; a test runs it as a program.

Its argument says when: `up`, by the test, or `starting`, by itself before `ray.init` returns.
"""

import signal
import sys
import time
from typing import Any

import pytest

from study.cluster.ray_environment import set_ray_environment

set_ray_environment()

import ray  # noqa: E402

from study.cluster.local_ray import local_ray  # noqa: E402
from study.signals import EXIT_CODE, interruptible  # noqa: E402


def main(when: str) -> int:
    """Start it, wait, clean up."""
    try:
        with interruptible(), pytest.MonkeyPatch.context() as patch:
            if when == "starting":
                patch.setattr(ray, "init", stopped)
            try:
                with local_ray(0, 1):
                    print("up", flush=True)
                    time.sleep(60)
            finally:
                time.sleep(5)  # Longer than Ray gives a process.
                print("cleaned up", flush=True)
    except KeyboardInterrupt:
        return EXIT_CODE
    return 0


def stopped(*, init: Any = ray.init, **given: object) -> None:
    """Start Ray, but be stopped before its start is over."""
    init(**given)
    signal.raise_signal(signal.SIGTERM)
    time.sleep(60)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
