"""Studies on a Ray of their own: `python study/run.py` in a process group that can be ended."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study import run
from tests.support.processes import left_over, title, workers

LIMIT_S = 400


class RayRun:
    """Starts studies whose Ray can be told from any other by its folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self, *words: object, program: str = run.__file__) -> "subprocess.Popen[str]":
        """Start a study in the working folder."""
        # The repository's root, for programs of the tests.
        own = {"PYTHONPATH": str(Path(__file__).parents[3])}
        own |= {"HOME": str(self.home), "RAY_TMPDIR": str(self.home), "COLUMNS": "200"}
        return subprocess.Popen(
            [sys.executable, program, *(str(word) for word in words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | own,
            start_new_session=True,
        )

    def finish(self, process: "subprocess.Popen[str]") -> tuple[int, str, str]:
        """Wait for the study; return its exit code and what it printed and told."""
        try:
            printed, told = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, printed, told

    def left_over(self, wait_s: float = 0) -> dict[int, str]:
        """Processes of these studies that still run after at most `wait_s`, and their titles."""
        return {process: title(process) for process in left_over(self.home, wait_s)}

    def workers(self) -> list[int]:
        """Processes that run a trial, or wait for one."""
        return workers(self.home)


@contextmanager
def ray_runs() -> Iterator[RayRun]:
    """A short folder for Ray, whose sockets have paths of at most 107 bytes; removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="tl", dir="/tmp"))
    runs = RayRun(home)
    try:
        yield runs
    finally:
        for process in runs.left_over():
            os.kill(process, signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)
