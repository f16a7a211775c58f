"""Studies on a Ray of their own: `python study/run.py` in a process group that can be ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from study import run
from study.records.ledger import read_records
from tests.conftest import SIDE, TINY, draw_folder
from tests.support.processes import left_over, title, workers
from tests.support.sockets import Address, listening
from tests.support.words import latest

LIMIT_S = 400
_OUTCOME = "outcome.json"


class RayRun:
    """Starts studies whose Ray can be found by its folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(
        self, *words: object, program: str = run.__file__, cwd: Path | None = None
    ) -> "subprocess.Popen[str]":
        """Start a study in a folder, else in the working folder."""
        # The repository's root, for programs of the tests.
        own = {"PYTHONPATH": str(Path(__file__).parents[3])}
        own |= {"HOME": str(self.home), "RAY_TMPDIR": str(self.home), "COLUMNS": "200"}
        return subprocess.Popen(
            [sys.executable, program, *latest(words)], text=True, env=os.environ | own, cwd=cwd,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def finish(self, process: "subprocess.Popen[str]") -> tuple[int, str, str]:
        """Wait for the study; return its exit code and both outputs."""
        try:
            printed, told = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, printed, told

    def succeed(self, process: "subprocess.Popen[str]") -> str:
        """Wait for a study that ends well; return what it printed."""
        code, printed, told = self.finish(process)
        assert code == 0, printed + told
        return printed

    def left_over(self, wait_s: float = 0) -> dict[int, str]:
        """Processes of these studies that still run after at most `wait_s`, and their titles."""
        return {process: title(process) for process in left_over(self.home, wait_s)}

    def workers(self) -> list[int]:
        """Processes that run a trial, or wait for one."""
        return workers(self.home)


@dataclass(frozen=True)
class FinishedStudy:
    """A study that ran to its end; tests read it and change nothing."""

    home: Path
    """The working folder: the study is `runs/mine`, its store `mlflow.db`."""
    photos: Path
    code: int
    printed: str
    errors: str
    left_over: dict[int, str]
    """Processes that still ran some time after its end."""
    files_left: set[str]
    """Names of files that it left in its Ray's folder."""
    listened: dict[str, Address]
    """Sockets that its processes listened on."""

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.home / "runs" / "mine"

    @property
    def uri(self) -> str:
        """Its MLflow store."""
        return str(URL.create("sqlite", database=f"{self.home}/mlflow.db"))  # It quotes a %.

    def save(self) -> None:
        """Write what is not in its files beside them, for other test processes."""
        (self.home / _OUTCOME).write_text(json.dumps(asdict(self), default=_plain))

    @classmethod
    def read(cls, home: Path) -> "FinishedStudy":
        """Read what `save` wrote."""
        found = json.loads((home / _OUTCOME).read_text())
        return cls(
            home, Path(found["photos"]), found["code"], found["printed"], found["errors"],
            left_over={int(process): title for process, title in found["left_over"].items()},
            files_left={*found["files_left"]},
            listened={name: ip_address(where) for name, where in found["listened"].items()},
        )  # fmt: skip

    def copy(self, to: Path) -> Path:
        """Copy the study's folder, for a test that changes it; return where it is."""
        return shutil.copytree(self.folder, to)


def results(folder: Path) -> list[Any]:
    """What a study comes to: of each trial its configuration, metrics and test scores."""
    found = []
    for r in read_records(folder):
        metrics = [vars(m) | {"images_per_s": 0} for m in r.history]
        found.append((r.trial, r.kind, r.status, r.config, metrics, r.test))
    return found


def run_finished_study(home: Path, blank_store: Path, weights: Path) -> FinishedStudy:
    """Run the smallest study that has all parts: two modes at two ratios, confirmed, tracked."""
    photos = draw_folder(home / "photos", ("cat", "dog"))
    shutil.copy(blank_store, home / "mlflow.db")
    words = [
        "--data", photos, "--backbone", TINY, "--weights", weights, "--image-size", SIDE,
        "--mode", "freeze", "finetune", "--train-ratio", 0.2, 0.4,
        "--epochs", 2, "--min-steps", 0, "--trials", 5,
        "--confirm-seeds", 1, "--name", "mine", "--cache", home / "cache",
        "--tracking-uri", "sqlite:///mlflow.db",
    ]  # fmt: skip
    traps = [home / name for name in ("study.py", "mlflow.py", "random.py")]
    for trap in traps:
        trap.write_text("raise ImportError('nothing is imported from the working folder')")
    with ray_runs() as runs:
        process, listened = runs.start(*words, cwd=home), dict[str, Address]()
        while process.poll() is None:
            listened |= listening(runs.left_over())
            time.sleep(1)  # A look takes a while; sockets stay as long as their processes.
        ended = runs.finish(process)
        for trap in traps:
            trap.unlink()
        left_over, files = runs.left_over(wait_s=20), {path.name for path in runs.home.iterdir()}
        return FinishedStudy(home, photos, *ended, left_over, files, listened)


def _plain(value: Any) -> Any:
    """Paths, addresses and sets as JSON can hold them."""
    return sorted(value) if isinstance(value, set) else str(value)


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
