"""A real MLflow server: `mlflow server` in a process group that can be ended."""

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
    port = _free_port()
    words = ["server", "--host", "127.0.0.1", "--port", port, "--workers", 1]
    words += ["--backend-store-uri", uri, "--artifacts-destination", folder / "artifacts"]
    url, log = f"http://127.0.0.1:{port}", folder / "server.log"
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *(str(word) for word in words)],
            stdout=told,
            stderr=told,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
    try:
        _wait(url, process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(LIMIT_S)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + LIMIT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            return
        except OSError:  # It does not listen yet.
            time.sleep(0.2)
    raise RuntimeError(f"no MLflow server:\n{log.read_text()}")
