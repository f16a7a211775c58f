import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from study.tracking.registry import (
    REQUIREMENTS,
    prepare_to_register,
    register_model,
    registered_name,
)
from tests.support.models import make_model
from tests.support.sources import files_of, imported
from tests.support.study_fixtures import Capture, Patch
from tl_core.errors import InputError
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.inference.serialization import save_model


class Store:
    """A store with one run that is over, and the folder of a study's winner."""

    def __init__(self, home: Path, blank: Path) -> None:
        shutil.copy(blank, home / "mlflow.db")
        self.uri, self.folder = f"sqlite:///{home}/mlflow.db", home / "winner"
        self.client = MlflowClient(self.uri)
        place = (home / "mlruns").as_uri()
        self.experiment_id = self.client.create_experiment("tl-study", place)
        self.run_id = str(self.client.create_run(self.experiment_id).info.run_id)
        self.client.set_terminated(self.run_id)
        save_model(self.folder, make_model())
        (self.folder / "predictions.csv").write_text("image\nprivate.jpg\n")

    def register(self, name: str = "mine", folder: Path | None = None) -> str:
        return register_model(self.client, self.run_id, folder or self.folder, name)


@pytest.fixture
def store(tmp_path: Path, blank_store: Path) -> Store:
    return Store(tmp_path, blank_store)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, blank_store: Path) -> Store:
    """A store with the first version of the model "mine"; for reading only."""
    store = Store(tmp_path_factory.mktemp("registered"), blank_store)
    assert store.register() == "1"
    return store


@pytest.fixture
def load(monkeypatch: Patch) -> Callable[..., Any]:
    """Load a registered model, as a user of the store does."""

    def load_from(store: Store, name: str = "mine") -> Any:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
        return mlflow.pyfunc.load_model(f"models:/{name}@best")

    monkeypatch.setattr(sys, "path", list(sys.path))  # A loaded model adds its code.
    return load_from


def assert_signature_fits(loaded: Any, columns: list[str]) -> None:
    """The signature is what the model takes and returns, for its example."""
    predicted = loaded.predict(loaded.input_example)
    assert len(predicted) == 2
    signature = loaded.metadata.signature
    assert signature.inputs.input_names() == ["image"]
    assert signature.outputs.input_names() == list(predicted) == columns
    json.dumps(predicted.to_dict("records"), allow_nan=False)


def test_what_is_installed_is_listed_once_and_ahead(
    store: Store, monkeypatch: Patch, capfd: Capture
) -> None:
    prepare_to_register()

    def listed_again() -> None:
        raise AssertionError

    monkeypatch.setattr("importlib_metadata.packages_distributions", listed_again)
    assert store.register() == "1"
    assert capfd.readouterr() == ("", "")  # MLflow would only warn of an error.


def test_the_registered_model_predicts_and_tells_what_it_is(registered: Store, load: Any) -> None:
    loaded = load(registered)
    assert loaded.metadata.metadata == {"backbone": "shared_mlp", "classes": ["cat", "dog"]}
    assert_signature_fits(loaded, ["class", "probability", "probabilities", "brightness"])


def test_run_model_and_version_lead_to_each_other(registered: Store) -> None:
    client, run_id = registered.client, registered.run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.outputs is not None
    (output,) = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.source_run_id, logged.status) == (run_id, "READY")
    assert logged.params == {"mode": "scratch", "lr": "0.001"}
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "mine", "version": 1}]
    version = client.get_model_version_by_alias("mine", "best")
    assert (version.run_id, version.source) == (run_id, logged.artifact_location)
    # Only the model and its needs are logged.
    place = Path(str(version.source).removeprefix("file://"))
    assert {path.name for path in (place / "data" / "data").iterdir()} == {CARD, WEIGHTS}
    assert not list(place.rglob("*.pkl"))
    assert (place / "code" / "tl_core" / "inference" / "pyfunc.py").is_file()
    pinned = (place / "requirements.txt").read_text().split()
    assert pinned[0].startswith("mlflow==")
    assert [each.partition("==")[0] for each in pinned[1:]] == list(REQUIREMENTS)
    assert not any("+" in each for each in pinned)


def test_no_brightness_and_an_odd_name(store: Store, load: Any, tmp_path: Path) -> None:
    save_model(tmp_path / "any", make_model(learned=("class",)))
    store.register("a:b@1/c ü", tmp_path / "any")
    assert registered_name("a:b@1/c ü") == "a-b-1-c ü"
    assert_signature_fits(load(store, "a-b-1-c ü"), ["class", "probability", "probabilities"])


def test_the_later_model_takes_the_alias(store: Store, capfd: Capture) -> None:
    before = mlflow.get_tracking_uri(), mlflow.active_run(), list(sys.path)
    assert [store.register() for _ in range(2)] == ["1", "2"]
    assert str(store.client.get_model_version_by_alias("mine", "best").version) == "2"
    assert (mlflow.get_tracking_uri(), mlflow.active_run(), list(sys.path)) == before
    assert capfd.readouterr() == ("", "")


def test_what_did_not_arrive(store: Store, tmp_path: Path, monkeypatch: Patch) -> None:
    def refuse(*_: object) -> None:
        raise MlflowException("the disk is full")

    with pytest.raises(InputError, match=r"model.json does not exist; a model is a folder"):
        store.register(folder=tmp_path)
    assert store.client.search_logged_models([store.experiment_id]) == []
    monkeypatch.setattr(store.client, "log_model_artifacts", refuse)
    with pytest.raises(MlflowException, match="the disk is full"):
        store.register()
    (logged,) = store.client.search_logged_models([store.experiment_id])
    assert logged.status == "FAILED"
    assert store.client.search_registered_models() == []


def test_a_model_that_is_logged_is_not_sent_again(store: Store) -> None:
    refused = patch.object(store.client, "create_model_version", side_effect=OSError("no"))
    with refused, pytest.raises(OSError, match="no"):
        store.register()
    assert [store.register(), store.register("yours")] == ["1", "1"]
    assert len(store.client.search_logged_models([store.experiment_id])) == 1


def test_the_requirements_are_what_tl_core_imports() -> None:
    found = {name.partition(".")[0] for file in files_of("tl_core") for name in imported(file)}
    found.remove("pillow_heif")  # An extra; without it such a photo is refused.
    of = packages_distributions()
    foreign = [of[name][0] for name in found - sys.stdlib_module_names - {"tl_core"}]
    assert {name.lower().replace("_", "-") for name in foreign} == set(REQUIREMENTS)


@pytest.mark.integration
def test_another_process_needs_no_tl_study(registered: Store, tmp_path: Path) -> None:
    code = (
        f"import mlflow\nmlflow.set_tracking_uri({registered.uri!r})\n"
        "model = mlflow.pyfunc.load_model('models:/mine@best')\n"
        "import tl_core\nprint(len(model.predict(model.input_example)), tl_core.__file__)"
    )
    printed = subprocess.check_output(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, text=True, timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    n, place = printed.split()
    assert n == "2"
    assert place.startswith(f"{registered.folder.parent}/mlruns/models/")
