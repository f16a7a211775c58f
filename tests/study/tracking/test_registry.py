import ast
import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from io import BytesIO
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

import tl_core
from study.tracking.registry import REQUIREMENTS, register_model, registered_name
from tests.support.models import make_model
from tl_core.errors import InputError
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.inference.serialization import save_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The winner of a study, with more files in it than those of the model."""
    save_model(tmp_path / "winner", make_model())
    (tmp_path / "winner" / "predictions.csv").write_text("image\nprivate.jpg\n")
    return tmp_path / "winner"


@pytest.fixture
def run_id(client: MlflowClient, tmp_path: Path) -> str:
    """A run that is over."""
    place = (tmp_path / "mlruns").as_uri()
    run = client.create_run(client.create_experiment("tl-study", place))
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


@pytest.fixture
def as_user(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user sets to load models from the store; undone with the test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(sys, "path", list(sys.path))


def pngs(n: int) -> pd.DataFrame:
    """Files of pictures of several sizes."""
    files = [BytesIO() for _ in range(n)]
    for i, file in enumerate(files):
        Image.new("RGB", (20 + i, 30), (40 * i, 100, 10)).save(file, "PNG")
    return pd.DataFrame({"image": [file.getvalue() for file in files]})


@pytest.mark.usefixtures("as_user")
def test_the_registered_model_predicts_any_number_of_pictures(
    client: MlflowClient, run_id: str, folder: Path
) -> None:
    assert register_model(client, run_id, folder, "mine") == "1"
    loaded = mlflow.pyfunc.load_model("models:/mine@best")
    for n in (1, 2, 5):
        table = loaded.predict(pngs(n))
        told = make_model().predict(BytesIO(content) for content in pngs(n)["image"])
        assert table["class"].tolist() == [each.class_name for each in told]
        assert table["probability"].tolist() == pytest.approx([each.probability for each in told])
        assert table["brightness"].tolist() == pytest.approx([each.brightness for each in told])
    assert loaded.metadata.metadata == {"backbone": "shared_mlp", "classes": ["cat", "dog"]}


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("learned", [("class",), ("class", "brightness")])
def test_signature_and_example_are_what_the_model_takes_and_gives(
    client: MlflowClient, run_id: str, tmp_path: Path, learned: tuple[str, ...]
) -> None:
    save_model(tmp_path / "any", make_model(learned=learned))
    register_model(client, run_id, tmp_path / "any", "mine")
    loaded = mlflow.pyfunc.load_model("models:/mine@best")
    said = loaded.predict(loaded.input_example)
    assert len(said) == 2
    signature = loaded.metadata.signature
    assert signature.inputs.input_names() == ["image"]
    assert signature.outputs.input_names() == list(said)
    assert ("brightness" in said) == ("brightness" in learned)
    json.dumps(said.to_dict("records"), allow_nan=False)


def test_the_run_leads_to_the_model_and_the_model_to_its_version(
    client: MlflowClient, run_id: str, folder: Path
) -> None:
    register_model(client, run_id, folder, "mine")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.outputs is not None
    (output,) = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.source_run_id, logged.status) == (run_id, "READY")
    assert logged.params == {"mode": "scratch", "lr": "0.001"}
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "mine", "version": 1}]
    registered = client.get_model_version_by_alias("mine", "best")
    assert (registered.run_id, registered.source) == (run_id, logged.artifact_location)


def test_the_later_model_takes_the_alias(client: MlflowClient, run_id: str, folder: Path) -> None:
    assert [register_model(client, run_id, folder, "mine") for _ in range(2)] == ["1", "2"]
    assert str(client.get_model_version_by_alias("mine", "best").version) == "2"


def test_only_the_model_and_what_it_takes_is_logged(
    client: MlflowClient, run_id: str, folder: Path
) -> None:
    register_model(client, run_id, folder, "mine")
    source = client.get_model_version("mine", "1").source
    place = Path(str(source).removeprefix("file://"))
    assert {path.name for path in (place / "data" / "data").iterdir()} == {CARD, WEIGHTS}
    assert not list(place.rglob("*.pkl"))
    assert (place / "code" / "tl_core" / "inference" / "pyfunc.py").is_file()
    pinned = (place / "requirements.txt").read_text().split()
    assert pinned[0].startswith("mlflow==")
    assert [each.partition("==")[0] for each in pinned[1:]] == list(REQUIREMENTS)
    assert not any("+" in each for each in pinned)


def test_nothing_but_the_client_is_told(
    client: MlflowClient, run_id: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = mlflow.get_tracking_uri(), mlflow.active_run(), list(sys.path)
    register_model(client, run_id, folder, "mine")
    assert (mlflow.get_tracking_uri(), mlflow.active_run(), list(sys.path)) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a:b", "a@1", "a/b", "a b ü"])
@pytest.mark.usefixtures("as_user")
def test_names_that_a_model_address_cannot_hold_are_changed(
    client: MlflowClient, run_id: str, folder: Path, name: str
) -> None:
    register_model(client, run_id, folder, name)
    address = f"models:/{registered_name(name)}@best"
    assert len(mlflow.pyfunc.load_model(address).predict(pngs(1))) == 1


def test_no_model_leaves_nothing_in_the_store(
    client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"model.json does not exist; a model is a folder"):
        register_model(client, run_id, tmp_path, "mine")
    assert client.search_registered_models() == []
    assert client.search_logged_models([client.get_run(run_id).info.experiment_id]) == []


def test_a_model_that_did_not_arrive_is_marked_as_failed(
    client: MlflowClient, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MlflowException("the disk is full")

    monkeypatch.setattr(client, "log_model_artifacts", refuse)
    with pytest.raises(MlflowException, match="the disk is full"):
        register_model(client, run_id, folder, "mine")
    experiment = client.get_run(run_id).info.experiment_id
    (logged,) = client.search_logged_models([experiment])
    assert logged.status == "FAILED"
    assert client.search_registered_models() == []


def test_the_requirements_are_what_tl_core_imports() -> None:
    found = set()
    for file in Path(str(tl_core.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    foreign = found - sys.stdlib_module_names - {"tl_core"}
    of = packages_distributions()
    needed = {of[name][0].lower().replace("_", "-") for name in foreign}
    assert needed == set(REQUIREMENTS)


@pytest.mark.integration
def test_another_process_needs_no_tl_study(
    client: MlflowClient, run_id: str, folder: Path, uri: str, tmp_path: Path
) -> None:
    register_model(client, run_id, folder, "mine")
    code = (
        "import mlflow\n"
        f"mlflow.set_tracking_uri({uri!r})\n"
        "model = mlflow.pyfunc.load_model('models:/mine@best')\n"
        "import tl_core\n"
        "print(len(model.predict(model.input_example)), tl_core.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    n, place = done.stdout.split()
    assert n == "2"
    assert place.startswith(f"{tmp_path}/mlruns/models/")
