"""The winner in MLflow's model registry, from which every user of the store can load it."""

import json
import logging
import re
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow.pyfunc
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS
from PIL import Image

import tl_core
from study.tracking.sync_state import KEY
from tl_core.inference.model_card import CARD, WEIGHTS, ModelCard, find_model, read_card

ALIAS = "best"
REQUIREMENTS = (
    *("torch", "torchvision", "timm", "safetensors", "huggingface-hub", "numpy", "pandas"),
    *("pillow", "pydantic", "filelock", "rich", "pathspec", "scipy"),
)
"""The distributions that `tl_core` imports; MLflow adds itself."""
_LOADER = "tl_core.inference.pyfunc"
"""By name: its import would take torch into the process that writes to MLflow."""
_SHA256 = "tl_study.model_sha256"


def register_winner(client: MlflowClient, run_id: str, folder: Path) -> str:
    """Register the model in a folder under the study's name, unless it is registered already.

    Returns a note if the name's alias was that of another study.
    """
    run, weights = client.get_run(run_id), read_card(folder / CARD).sha256
    if run.data.tags.get(_SHA256) == weights:
        return ""
    note = _taken_from_another(client, run)
    register_model(client, run_id, folder, run.info.run_name)
    client.set_tag(run_id, _SHA256, weights)
    return note


def _taken_from_another(client: MlflowClient, run: Run) -> str:
    name = registered_name(run.info.run_name)
    try:
        before = client.get_run(client.get_model_version_by_alias(name, ALIAS).run_id or "")
    except MlflowException:  # There is none, or its run is gone.
        return ""
    studies = {each.data.tags.get(KEY, "").partition("/")[0] for each in (run, before)}
    taken = f"models:/{name}@{ALIAS} was of another study with this name, and is of this one now"
    return taken if len(studies) == 2 else ""


def register_model(client: MlflowClient, run_id: str, folder: Path, name: str) -> str:
    """Log a saved model as an output of a run, and register it with the alias `best`.

    `mlflow.pyfunc.load_model("models:/NAME@best").predict(table)` then takes a table whose column
    `image` holds the content of image files, of any number and size. The model contains `tl_core`,
    so it loads without tl-study.

    Only `client` is used: MLflow's current run and tracking URI stay as they are. The run may be
    open or finished. Returns the version: a new one if `registered_name(name)` exists.

    Raises `InputError` if the folder has no readable model that `save_model` wrote.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    files = find_model(folder)
    card = read_card(files[0])
    run = client.get_run(run_id)
    logged = _logged_before(client, run, card) or _log(client, run, files, card)
    return _register(client, run_id, logged, registered_name(name))


def _logged_before(client: MlflowClient, run: Run, card: ModelCard) -> LoggedModel | None:
    """The model that an attempt has logged which the registry has refused, or not answered."""
    mine = f"source_run_id = '{run.info.run_id}' AND tags.`{_SHA256}` = '{card.sha256}'"
    found = client.search_logged_models([run.info.experiment_id], mine)
    return next((model for model in found if model.status == LoggedModelStatus.READY), None)


def _log(client: MlflowClient, run: Run, files: tuple[Path, Path], card: ModelCard) -> LoggedModel:
    """Log the model as an output of the run."""
    run_id = run.info.run_id
    logged = client.create_logged_model(
        run.info.experiment_id,
        name="winner",
        source_run_id=run_id,
        params={key: str(value) for key, value in card.config.items()},
        tags={_SHA256: card.sha256},
    )
    try:
        with TemporaryDirectory() as temp_dir:
            local = _package(files, card, logged, Path(temp_dir))
            client.log_model_artifacts(logged.model_id, str(local))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return logged


def prepare_to_register() -> None:
    """Have MLflow list what is installed, which takes a second, once a process.

    It compares the list with the requirements of each model that it saves.
    """
    # Not above: MLflow does not document it, and nothing else here needs it.
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    warn_dependency_requirement_mismatches(_pinned(REQUIREMENTS[:1]))


def _pinned(names: Iterable[str]) -> list[str]:
    # A plus marks a local build, which the package index does not have.
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


def registered_name(name: str) -> str:
    """Return the study's name without the characters that have a meaning in `models:/NAME@best`."""
    return re.sub(r"[/:@]", "-", name)


def _package(files: tuple[Path, Path], card: ModelCard, logged: LoggedModel, folder: Path) -> Path:
    """Make MLflow's own folder for the model, with a link to `logged` in it."""
    data, local = folder / "data", folder / "local"
    data.mkdir()
    for file, name in zip(files, (CARD, WEIGHTS), strict=True):
        shutil.copy(file, data / name)
    mlflow.pyfunc.save_model(
        local,
        loader_module=_LOADER,
        data_path=str(data),
        code_paths=[str(Path(tl_core.__file__).parent)],
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            run_id=logged.source_run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        ),
        signature=_signature(card),
        input_example=_example(card.image_size),
        # Otherwise MLflow loads the model in another process to find them.
        pip_requirements=_pinned(REQUIREMENTS),
        metadata={"backbone": card.backbone, "classes": list(card.classes)},
    )
    return local


def _signature(card: ModelCard) -> ModelSignature:
    """Table in, table out, of any number of rows."""
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "class"),
        ColSpec(DataType.double, "probability"),
        ColSpec(Array(DataType.double), "probabilities"),
    ]
    if card.aux.name in card.learned:
        is_class = card.aux.kind == "classification"
        outputs.append(ColSpec(DataType.string if is_class else DataType.double, card.aux.key))
    return ModelSignature(Schema([ColSpec(DataType.binary, "image")]), Schema(outputs))


def _example(size: int) -> pd.DataFrame:
    """A dark picture and a bright one; photos of the study may be private."""
    contents = []
    for grey in ("#404040", "#c0c0c0"):
        file = BytesIO()
        Image.new("RGB", (size, size), grey).save(file, "PNG")
        contents.append(file.getvalue())
    return pd.DataFrame({"image": contents})


def _register(client: MlflowClient, run_id: str, logged: LoggedModel, name: str) -> str:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Not `models:/ID`: MLflow would look that up in the store of its current tracking URI.
    source = logged.artifact_location
    made = client.create_model_version(name, source, run_id, model_id=logged.model_id)
    versions = json.dumps([{"name": name, "version": made.version}])
    client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: versions})
    client.set_registered_model_alias(name, ALIAS, made.version)
    return str(made.version)
