"""The winner in MLflow's model registry, where anybody who reaches the server can load it."""

import json
import logging
import re
import shutil
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow.pyfunc
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS
from PIL import Image

import tl_core
from tl_core.inference.model_card import CARD, WEIGHTS, ModelCard, find_model, read_card

ALIAS = "best"
REQUIREMENTS = (
    *("torch", "torchvision", "timm", "safetensors", "huggingface-hub", "numpy", "pandas"),
    *("pillow", "pydantic", "filelock", "rich"),
)
"""The distributions that `tl_core` takes; MLflow adds itself."""
_LOADER = (
    "tl_core.inference.pyfunc"  # By name: it imports torch, which who tells MLflow can do without.
)


def register_model(client: MlflowClient, run_id: str, folder: Path, name: str) -> str:
    """Log a saved model as an output of a run, and register it with the alias `best`.

    `mlflow.pyfunc.load_model("models:/NAME@best").predict(table)` then takes a table whose column
    `image` holds the content of image files, of any number and size. `tl_core` goes with the
    model, which so needs no tl-study where it is loaded.

    Only `client` is told anything: MLflow's current run and tracking URI stay as they are.

    Args:
        client: of the store that holds the run.
        run_id: of a run, open or finished.
        folder: where `tl_core.inference.serialization.save_model` wrote it.
        name: to register it under, `registered_name(name)` in MLflow; a new version if it exists.

    Returns:
        The version.

    Raises:
        InputError: the folder holds no model that can be read.
        MlflowException: the store refuses.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # It tells of each step.
    files = find_model(folder)
    card = read_card(files[0])
    logged = client.create_logged_model(
        client.get_run(run_id).info.experiment_id,
        name="winner",
        source_run_id=run_id,
        params={key: str(value) for key, value in card.config.items()},
    )
    try:
        with TemporaryDirectory() as scratch:
            local = _package(files, card, logged, Path(scratch))
            client.log_model_artifacts(logged.model_id, str(local))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return _register(client, run_id, logged, registered_name(name))


def registered_name(name: str) -> str:
    """Return the study's name without the characters that `models:/NAME@best` gives a meaning."""
    return re.sub(r"[/:@]", "-", name)


def _package(files: tuple[Path, Path], card: ModelCard, logged: LoggedModel, scratch: Path) -> Path:
    """Make MLflow's own folder for the model, with a link to `logged` in it."""
    data, local = scratch / "data", scratch / "local"
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
        # Stated, because MLflow finds them out by loading the model in another process.
        pip_requirements=[f"{each}=={_public_version(each)}" for each in REQUIREMENTS],
        metadata={"backbone": card.backbone, "classes": list(card.classes)},
    )
    return local


def _signature(card: ModelCard) -> ModelSignature:
    """Table in, table out: unlike a traced network's, the number of rows is free."""
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "class"),
        ColSpec(DataType.double, "probability"),
        ColSpec(Array(DataType.double), "probabilities"),
    ]
    if "brightness" in card.learned:
        outputs.append(ColSpec(DataType.double, "brightness"))
    return ModelSignature(Schema([ColSpec(DataType.binary, "image")]), Schema(outputs))


def _example(size: int) -> pd.DataFrame:
    """A dark picture and a bright one; photos of the study may not be the registry's to show."""
    contents = []
    for grey in ("#404040", "#c0c0c0"):
        file = BytesIO()
        Image.new("RGB", (size, size), grey).save(file, "PNG")
        contents.append(file.getvalue())
    return pd.DataFrame({"image": contents})


def _public_version(distribution: str) -> str:
    # What follows a plus names a build, which the package index doesn't have.
    return version(distribution).partition("+")[0]


def _register(client: MlflowClient, run_id: str, logged: LoggedModel, name: str) -> str:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # By its place: `models:/ID` would be looked up in the store of MLflow's own tracking URI.
    source = logged.artifact_location
    made = client.create_model_version(name, source, run_id, model_id=logged.model_id)
    versions = json.dumps([{"name": name, "version": made.version}])
    client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: versions})
    client.set_registered_model_alias(name, ALIAS, made.version)
    return str(made.version)
