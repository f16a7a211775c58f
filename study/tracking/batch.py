"""What waits to be sent to one run of MLflow, and how it is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException, RestException

from study.config.uris import is_server, reason
from study.tracking.client import upload_timeout
from tl_core.files import is_there
from tl_core.inference.model_card import CARD, WEIGHTS

# A server takes at most 1,000 values in a batch, of which 100 params, and 6,000 characters a param.
_MAX_VALUES, _MAX_PARAMS, _MAX_PARAM_LENGTH = 1000, 100, 6000
_MAY_PASS = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
}
"""Answers to a client's errors that may be others later."""
_OF_DATABASE = "BAD_REQUEST"
"""What MLflow makes of most errors of a database, such as a connection that was closed."""


class Batch:
    """What waits to be sent to one run."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self.params: dict[str, Any] = {}
        self.tags: dict[str, str] = {}
        self.files: list[str] = []
        self.end: tuple[str, float] | None = None
        """MLflow's status of the run at its end, and the time of its end."""
        self.model: str | None = None
        """Folder of the winner's weights."""
        self.note = ""
        """What users must know of the winner once it is sent."""

    def add(self, values: dict[str, float], step: int, at: float) -> None:
        """Add metrics of one step."""
        self.metrics += [Metric(name, value, in_ms(at), step) for name, value in values.items()]

    def parts(self) -> Iterator[tuple[list[Metric], list[Param], list[RunTag]]]:
        """Split metrics, params and tags into parts that a server takes."""
        metrics = self.metrics
        params = [Param(k, _text(value)[:_MAX_PARAM_LENGTH]) for k, value in self.params.items()]
        tags = [RunTag(name, _text(value)) for name, value in self.tags.items()]
        while metrics or params or tags:
            n = _MAX_VALUES - len(params[:_MAX_PARAMS]) - len(tags)
            yield metrics[:n], params[:_MAX_PARAMS], tags
            metrics, params, tags = metrics[n:], params[_MAX_PARAMS:], []

    def send(self, client: MlflowClient, run_id: str) -> list[str]:
        """Send everything in as few calls as the store allows, for most trials in one.

        Returns the files that are gone: a ledger may be sent long after.
        """
        gone = [path for path in self.files if not is_there(Path(path))]
        for metrics, params, tags in self.parts():
            client.log_batch(run_id, metrics, params, tags)
        with upload_timeout():
            for path in self.files:
                if path not in gone:
                    with _explain_root(client, run_id):
                        client.log_artifact(run_id, path)
        if self.end:
            status, at = self.end
            client.set_terminated(run_id, status, in_ms(at))
        if self.model:
            folder = Path(self.model)
            files = (folder / CARD, folder / WEIGHTS)
            if not (lacking := [str(file) for file in files if not file.is_file()]):
                # Takes a second to import.
                from study.tracking.registry import register_winner

                with upload_timeout(), _explain_root(client, run_id):
                    try:
                        self.note = register_winner(client, run_id, folder)
                    except Exception as error:
                        if not _is_refused(error):
                            raise
                        # Otherwise it would keep all that comes after it from the store.
                        why = reason(error, client.tracking_uri)
                        self.note = f"MLflow has not registered the winner ({why})"
            gone += lacking
        return gone


def _is_refused(error: Exception) -> bool:
    """Whether a store has refused what it was asked for good: to ask again does not help."""
    if getattr(error, "error_code", "") == _OF_DATABASE:
        return False
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
    else:  # Files are sent with `requests`.
        status = getattr(getattr(error, "response", None), "status_code", 0)
    return 400 <= status < 500 and status not in _MAY_PASS


class ArtifactRootError(RuntimeError):
    """A server has its clients write files to a place that they can't write."""


@contextmanager
def _explain_root(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Name the server's artifact root in an error, where this process writes to it itself."""
    try:
        yield
    except Exception as error:
        if not is_server(client.tracking_uri) or isinstance(error, RestException):
            raise
        root = str(client.get_run(run_id).info.artifact_uri).partition("/artifacts")[0]
        if root.startswith(("mlflow-artifacts:", "http")):  # The server takes the files itself.
            raise
        why = f"{type(error).__name__}: {reason(error, client.tracking_uri)}"
        way_out = "mlflow server --artifacts-destination FOLDER has the server write them, for new "
        raise ArtifactRootError(
            f"the server's artifact root can't be written from here, at {root} ({why}); {way_out}"
            "experiments (--experiment)"
        ) from error


def _text(value: Any) -> str:
    """As text that databases accept: names of files may hold bytes that are not UTF-8."""
    return str(value).encode(errors="backslashreplace").decode()


def in_ms(at: float) -> int:
    """Convert seconds to MLflow's milliseconds."""
    return int(at * 1000)
