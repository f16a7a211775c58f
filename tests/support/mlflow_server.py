"""A real MLflow server: `mlflow server` in a process group that can be killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

LIMIT_S = 90


class MlflowServer:
    """A server of the store at `uri`, always on the same port; artifacts and log are in `folder`.

    `command` replaces the command that starts it, apart from port and workers. As a context
    manager it is started and stopped.
    """

    def __init__(self, uri: str, folder: Path, command: Sequence[str] = ()) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        start = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        store = ["--backend-store-uri", uri, "--artifacts-destination", str(folder / "artifacts")]
        self._command = [*(command or start + store), "--port", str(port), "--workers", "1"]
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def processes(self) -> Iterator[int]:
        """Ids of the processes of its session."""
        assert self._process
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(ProcessLookupError):  # It has ended meanwhile.
                if os.getsid(int(folder.name)) == self._process.pid:
                    yield int(folder.name)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("a") as log:
            self._process = process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )
        end = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except OSError:  # It does not listen yet.
                time.sleep(0.2)
        raise RuntimeError(f"no MLflow server:\n{self._log.read_text()}")

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, if it runs."""
        if self._process:
            os.killpg(self._process.pid, by)
            self._process.wait(LIMIT_S)
            self._process = None
