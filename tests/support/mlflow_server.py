"""A real MLflow server: `mlflow server` in a process group that can be ended, and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT_S = 90


@contextmanager
def mlflow_server(uri: str, folder: Path) -> Iterator[str]:
    """Serve the store at `uri`, artifacts and log in `folder`; yields the server's URL."""
    server = MlflowServer(uri, folder)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


class MlflowServer:
    """A server of the store at `uri`, on one port for as long as it lives."""

    def __init__(self, uri: str, folder: Path) -> None:
        """Artifacts and the log go into `folder`."""
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        words = ["server", "--host", "127.0.0.1", "--port", self._port, "--workers", 1]
        words += ["--backend-store-uri", uri, "--artifacts-destination", folder / "artifacts"]
        self._command = [sys.executable, "-m", "mlflow", *(str(word) for word in words)]
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("a") as told:
            self._process = subprocess.Popen(
                self._command,
                stdout=told,
                stderr=told,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )
        self._wait(self._process)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """End it, if it runs."""
        if self._process:
            os.killpg(self._process.pid, by)
            self._process.wait(LIMIT_S)
            self._process = None

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        end = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except OSError:  # It does not listen yet.
                time.sleep(0.2)
        raise RuntimeError(f"no MLflow server:\n{self._log.read_text()}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
