"""How MLflow's client behaves here: it is quiet, asks once, and waits seconds for an answer."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_PATIENCE_S, _PATIENCE_WITH_FILES_S = 10, 120


def settle_client() -> None:
    """Set what MLflow reads at each call; what the user has set in the environment stays."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # It tells of each table it makes,
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # and each run.
    # Its own way of trying again may make a run twice.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault(_TIMEOUT, str(_PATIENCE_S))


@contextmanager
def time_for_files() -> Iterator[None]:
    """Wait as long as MLflow does by default: a server may have to pass files on to others."""
    before = os.environ[_TIMEOUT]
    os.environ[_TIMEOUT] = str(max(int(before), _PATIENCE_WITH_FILES_S))
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = before
