"""The study of the soak: real processes that can be killed, stopped and resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from study import run, sync
from study.records.ledger import read_events
from study.records.study_folder import LEDGER
from study.records.trial_record import ENDED
from study.tracking.sync_state import events_left
from tests.conftest import draw_folder
from tests.support.mlflow_server import MlflowServer
from tests.support.processes import kill_all, left_over, training

NAME, SIDE, EPOCHS, IMAGES_A_CLASS = "soak", 32, 3, 40
START_S, STOP_S, SYNC_S = 240, 60, 300
"""Longest start, orderly stop and sync on a busy machine, seconds."""
_ROOT = Path(run.__file__).resolve().parents[1]


class Follower:
    """Counts the finished trials of a ledger as it grows."""

    def __init__(self, ledger: Path) -> None:
        self._ledger, self._offset = ledger, 0
        self._trials: set[int] = set()

    def ended(self) -> int:
        """Trials that have ended; interrupted ones have not."""
        if self._ledger.exists():
            for event, after in read_events(self._ledger, self._offset):
                self._offset = after
                if event["event"] == "end" and event["status"] in ENDED:
                    self._trials.add(event["trial"])
        return len(self._trials)


class SoakStudy:
    """Many short trials on a Ray, an MLflow server and pictures of their own below `home`.

    The path of `home` has to be short: Ray's sockets lie below it.
    """

    def __init__(self, home: Path, trials: int, seed: int, batch_size: int) -> None:
        self.home, self.folder = home, home / "runs" / NAME
        self.store = f"sqlite:///{home / 'mlflow.db'}"
        self.server = MlflowServer(self.store, home)
        self.limit = time.monotonic() + START_S
        """Deadline of every wait, by `time.monotonic`; set by the caller."""
        self._words: list[object] = ["--trials", trials, "--seed", seed, "--name", NAME]
        self._words += ["--batch-size", batch_size]
        self._driver: subprocess.Popen[bytes] | None = None
        self._pool = ThreadPoolExecutor(1)
        self._server_back: Future[None] | None = None
        self._follower = Follower(self.folder / LEDGER)

    @property
    def driver(self) -> int | None:
        """Id of the driver, if one runs."""
        running = self._driver is not None and self._driver.poll() is None
        return self._driver.pid if self._driver and running else None

    def begin(self) -> None:
        """Draw the pictures, start the server and the study."""
        photos = draw_folder(self.home / "photos", ("cat", "dog"), IMAGES_A_CLASS)
        self.server.start()
        self._start(
            "--data", photos, "--backbone", "mlp", "--mode", "scratch", "--image-size", SIDE,
            "--train-ratio", 0.2, 0.8, "--lr", 1e-4, 1e-2,
            "--epochs", EPOCHS, "--min-steps", 0, "--no-confirm", "--checkpoint-every", 0,
            *self._words, *self._place(),
        )  # fmt: skip

    def resume(self) -> None:
        """Start a driver that resumes once the server is up, and wait until it has started.

        Until it writes to the ledger it needs the server, and old workers may still run.
        """
        self.server_back()
        ledger = self.folder / LEDGER
        size = ledger.stat().st_size
        self._start("--resume", NAME, *self._place())
        self.wait_until(lambda: ledger.stat().st_size > size, "the study does not resume", START_S)

    def ended(self) -> int:
        """Trials that have ended by now."""
        return self._follower.ended()

    def training(self) -> list[int]:
        """Processes that run a trial; waits until there is one."""
        self.wait_until(lambda: bool(training(self.home)), "no trial runs", START_S)
        return training(self.home) or self.training()

    def end_driver(self, by: signal.Signals, expected: int) -> None:
        """Send the driver a signal, and wait for its end; raise if its exit code is another."""
        assert self._driver
        self._driver.send_signal(by)
        self._expect(expected, self._driver.wait(STOP_S))

    def end_server(self, by: signal.Signals, away_s: float) -> None:
        """End the server, and start it again in the background after some time."""
        self.server_back()
        self.server.stop(by)
        self._server_back = self._pool.submit(self._start_server, away_s)

    def server_back(self) -> None:
        """Wait until the server is up."""
        if self._server_back:
            self._server_back.result()

    def _start_server(self, away_s: float) -> None:
        time.sleep(away_s)
        self.server.start()

    def finish(self) -> None:
        """Wait until the study has ended by itself; raise if it failed."""
        driver = self._driver
        assert driver
        self.wait_until(lambda: driver.poll() is not None, "the study does not end")
        self._expect(0, driver.wait())

    def synced(self) -> bool:
        """Send events that the study left unsent; return whether there were any."""
        self.server_back()
        if not events_left(self.folder):
            return False
        command = [sys.executable, sync.__file__, NAME]
        done = subprocess.run(
            command, cwd=self.home, env=self._env(), timeout=SYNC_S, capture_output=True, text=True
        )
        if done.returncode or events_left(self.folder):
            raise RuntimeError(f"sync.py left events: {done.stdout}{done.stderr}")
        return True

    def left_over(self) -> list[int]:
        """Processes that still run some time after the study's end."""
        return left_over(self.home, STOP_S)

    def close(self) -> None:
        """End all processes."""
        kill_all(self.home)
        if self._driver:
            self._driver.wait()
        self._pool.shutdown()  # Waits for a server that is starting.
        self.server.stop()

    def wait_until(self, true: Callable[[], bool], why: str, at_most_s: float = 1e9) -> None:
        """Wait; raises `TimeoutError` with `why` after the deadline."""
        end = min(self.limit, time.monotonic() + at_most_s)
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(f"{why}\n{self._log_tail()}")
            if why != "the study does not end" and self.driver is None:
                raise RuntimeError(f"the study has ended too early\n{self._log_tail()}")
            time.sleep(0.05)

    def _expect(self, code: int, was: int) -> None:
        if was != code:
            raise RuntimeError(f"exit code {was} instead of {code}\n{self._log_tail()}")

    def _start(self, *words: object) -> None:
        command = [sys.executable, run.__file__, *(str(word) for word in words)]
        with (self.home / "study.log").open("ab") as log:
            self._driver = subprocess.Popen(
                command,
                cwd=self.home,
                env=self._env(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _place(self) -> list[object]:
        # So that no trial fails, however many workers are killed.
        return ["--tracking-uri", self.server.url, "--max-failures", 10, "--cache", "cache"]

    def _env(self) -> dict[str, str]:
        own = {"PYTHONPATH": str(_ROOT), "RAY_TMPDIR": str(self.home), "COLUMNS": "200"}
        return os.environ | own

    def _log_tail(self) -> str:
        return "\n".join((self.home / "study.log").read_text().splitlines()[-40:])
