"""Files that a client can't write: the warning names the server's artifact root and its option."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    PERMISSION_DENIED,
    RESOURCE_CONFLICT,
    TEMPORARILY_UNAVAILABLE,
)
from requests import HTTPError, Response

from study.tracking.batch import ArtifactRootError, Batch
from study.tracking.client import configure_client
from tests.support.models import make_model
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.inference.serialization import save_model


class Client:
    """Stands for MLflow's: it takes batches, and its files fail."""

    def __init__(self, root: str, error: Exception, uri: str = "http://server:5000") -> None:
        self.tracking_uri, self.error, self.batches = uri, error, list[Any]()
        info = SimpleNamespace(artifact_uri=f"{root}/7/0123/artifacts")
        self.get_run = lambda run_id: SimpleNamespace(info=info)

    def log_batch(self, *batch: Any) -> None:
        """Keep it."""
        self.batches.append(batch)

    def log_artifact(self, run_id: str, path: str) -> None:
        """Fail."""
        raise self.error


def send(client: Client) -> None:
    configure_client()
    batch = Batch()
    Path("report.html").touch()
    batch.files = ["report.html"]
    batch.add({"loss": 0.5}, 1, 0.0)
    batch.send(cast(MlflowClient, client), "0123")


@pytest.mark.parametrize("root", ["/srv/mlruns", "s3://bucket/runs"])
def test_a_root_that_the_client_can_t_write(root: str) -> None:
    client = Client(root, PermissionError(13, "Permission denied", "/srv"))
    why = (
        f"the server's artifact root can't be written from here, at {root}/7/0123 "
        r"\(PermissionError: \[Errno 13\] Permission denied: '/srv'\); mlflow server "
        "--artifacts-destination FOLDER has the server write them, for new experiments"
    )
    with pytest.raises(ArtifactRootError, match=f"^{why} "):
        send(client)
    assert len(client.batches) == 1, "metrics have arrived"


def _refused() -> RestException:
    return RestException({"error_code": "INTERNAL_ERROR", "message": "no"})  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("client", [
    Client("mlflow-artifacts:", PermissionError(13, "no")),
    Client("/srv", PermissionError(13, "no"), uri="sqlite:///mlflow.db"),
    Client("/srv", _refused()),
])  # fmt: skip
def test_other_failures_are_told_as_they_are(client: Client) -> None:
    with pytest.raises(type(client.error), match="no"):
        send(client)


def test_files_that_are_gone_are_told_and_the_rest_arrives(tmp_path: Path) -> None:
    sent: list[Any] = []
    client: Any = SimpleNamespace(
        log_artifact=lambda _, path: sent.append(path),
        set_terminated=lambda _, status, at: sent.append(status),
    )
    configure_client()
    (tmp_path / "report.html").touch()
    card, weights = tmp_path / CARD, tmp_path / WEIGHTS
    card.write_text("{}")  # A disk was full: the weights were deleted.
    batch = Batch()
    there, none = str(tmp_path / "report.html"), str(tmp_path / "none.svg")
    batch.files, batch.end, batch.model = [none, there], ("FINISHED", 1.0), str(tmp_path)
    assert batch.send(client, "0123") == [none, str(weights)]
    assert sent == [there, "FINISHED"]
    batch.files, batch.model = [], str(tmp_path / "winner")
    assert len(batch.send(client, "0123")) == 2


def _too_large() -> HTTPError:
    answer = Response()
    answer.status_code = 413
    return HTTPError("413 Client Error", response=answer)


DENIED = MlflowException("no", PERMISSION_DENIED)
BUSY = MlflowException("busy", TEMPORARILY_UNAVAILABLE)
CONFLICT = MlflowException("a conflict", RESOURCE_CONFLICT)
CLOSED = MlflowException("connection already closed", BAD_REQUEST)


@pytest.mark.parametrize(("error", "note"), [
    (DENIED, "MLflow has not registered the winner (no)"),
    (_too_large(), "MLflow has not registered the winner (413 Client Error)"),
    (BUSY, None), (CONFLICT, None), (CLOSED, None), (OSError("gone"), None),
])  # fmt: skip
def test_a_model_that_is_refused_is_told_and_another_error_is_raised(
    error: Exception, note: str | None, tmp_path: Path
) -> None:
    configure_client()
    save_model(tmp_path, make_model())
    batch, client = Batch(), cast(MlflowClient, SimpleNamespace(tracking_uri="sqlite:///a.db"))
    batch.model = str(tmp_path)
    with patch("study.tracking.registry.register_winner", side_effect=error):
        if note:
            assert batch.send(client, "0123") == []
            assert batch.note == note
        else:
            with pytest.raises(type(error), match=str(error)):
                batch.send(client, "0123")
