"""What a study keeps of its winner: the model, its predictions, and its most confident errors."""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from tl_core.aux_task import AuxTask
from tl_core.config import TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.given.aux_labels import AuxLabels
from tl_core.files import replace_file
from tl_core.inference.model import Model
from tl_core.inference.model_card import CLASS, ModelInfo, is_taught
from tl_core.inference.serialization import save_model
from tl_core.models.heads import choose, probabilities
from tl_core.objectives.outputs import Outputs
from tl_core.training.setup import needs_pretrained
from tl_core.training.train import TrialResult

_PREDICTIONS, _ERRORS = "predictions.csv", "mistakes"
_MAX_ERRORS = 12
"""Pictures in the gallery."""


def save_winner(folder: Path, result: TrialResult, config: TrialConfig, images: ImageSet) -> None:
    """Write the model and its predictions into `folder`; a report needs nothing else.

    Args:
        folder: made if it does not exist; files of an earlier winner are replaced.
        result: what `run_trial` returned. For a frozen trial of several seeds the model and the
            predictions are those of the first seed, while the scores are means over all seeds.
        config: the configuration of the trial.
        images: the data set of the trial.
    """
    model = trained_model(result, config, images)
    save_model(folder, model)
    # Predictions of the test set only if the trial has read it already.
    split = "test" if result.test else "val"
    rows = getattr(result.split, split)
    write_predictions(folder, model, images, rows, split, result.predicted)


def trained_model(result: TrialResult, config: TrialConfig, images: ImageSet) -> Model:
    """Return the net of a finished trial as a model; not copied, and on the same device.

    Args:
        result: what `run_trial` returned.
        config: the configuration of the trial.
        images: the data set of the trial.
    """
    about = ModelInfo(
        backbone=config.backbone,
        pretrained=needs_pretrained(config.mode) and config.weights != "none",
        n_features=result.backbone.n_features,
        classes=images.classes,
        image_size=config.image_size,
        resize=images.resize,
        scales=dict(images.scales),
        mean=result.backbone.mean,
        std=result.backbone.std,
        precision=config.precision,
        aux=images.aux.task,
        learned=_learned(result, config, images.aux.task),
        config=config.model_dump(),
    )
    return Model(result.net, about)


def _learned(result: TrialResult, config: TrialConfig, task: AuxTask) -> tuple[str, ...]:
    """The heads that are worth asking: the auxiliary one must beat a constant on validation."""
    heads = {CLASS: config.aux_weight != 1}
    if task.kind != "none" and is_taught(config.model_dump()):
        heads[task.name] = result.history[-1].aux[f"val_{task.scores[1]}"] > 0
    return tuple(head for head, learned in heads.items() if learned)


def write_predictions(
    folder: Path,
    model: Model,
    images: ImageSet,
    rows: np.ndarray,
    split: str,
    predicted: Outputs | None = None,
) -> None:
    """Write `predictions.csv`, one line per image, and pictures of the most confident errors.

    Its columns: image (its id), label, predicted, split, the auxiliary task's value under its key
    and what the net says of it, such as brightness and predicted_brightness (empty where it is
    missing, and if that head never learned), a probability for each class in the order of the
    labels (p_0, p_1, ...), and mistake: the picture of this row, relative to `folder`, if it is one
    of the up to 12 in `mistakes/`, where 01 is the most confident error.

    Args:
        folder: where to write; pictures of earlier errors there are removed.
        model: the model that predicts.
        images: the data set that it was trained on.
        rows: int64 [B], the images of the split.
        split: name of the split.
        predicted: what the net says of these images, if that is known; else the model runs.
    """
    logits, auxiliary = predicted or model.outputs(images.pixels, rows)
    auxiliary = model.within_bounds(auxiliary)  # Scores, and what trials keep, are without.
    probability = probabilities(logits.double()).numpy()  # [B, K]
    task = model.about.aux
    columns = {
        "image": _pick(images.ids, rows),
        "label": _pick(model.about.classes, images.labels[rows]),
        "predicted": _pick(model.about.classes, choose(logits).numpy()),
        "split": split,
    }
    if task.kind != "none":
        columns |= {
            task.key: _auxiliary_column(images.aux, rows),
            f"predicted_{task.key}": _said(model, auxiliary),
        }
    columns |= {f"p_{k}": probability[:, k] for k in range(probability.shape[1])}
    table = pd.DataFrame(columns)
    wrong = (table["label"] != table["predicted"]).to_numpy()
    table["mistake"] = _save_errors(folder, wrong, probability.max(axis=1), images, rows)
    # Names of files and folders need not be valid UTF-8. And without quotes, a carriage return in
    # a name would end the line.
    text: str = table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)
    replace_file(folder / _PREDICTIONS, text.encode(errors="surrogateescape"))


def _auxiliary_column(aux: AuxLabels, rows: np.ndarray) -> np.ndarray | pd.Series:
    if aux.task.kind == "regression":
        return aux.values[rows]
    return _pick((*aux.task.classes, ""), aux.values[rows])  # -1, the last, where it is missing.


def _said(model: Model, outputs: Tensor) -> np.ndarray | pd.Series:
    if model.about.aux.name in model.about.learned and outputs.ndim == 1:
        return outputs.numpy()  # Its own digits, in float32.
    return pd.Series(model.auxiliary_values(outputs), dtype=object)


def _pick(names: Sequence[str], at: np.ndarray) -> pd.Series:
    # Names of files and folders need not be valid UTF-8, but pandas' own strings must be.
    return pd.Series([names[i] for i in at], dtype=object)


def _save_errors(
    folder: Path, wrong: np.ndarray, confidence: np.ndarray, images: ImageSet, rows: np.ndarray
) -> list[str]:
    """Save the most confident errors as pictures; return the path of each row's, or ''."""
    pictures = folder / _ERRORS
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    names = [""] * len(rows)
    errors = np.flatnonzero(wrong)
    most_confident = errors[np.argsort(-confidence[errors], kind="stable")][:_MAX_ERRORS]
    for number, at in enumerate(most_confident, start=1):
        names[at] = f"{_ERRORS}/{number:02d}.jpg"
        pixels = images.pixels[rows[at]].transpose(1, 2, 0)
        # Through memory, because Pillow does not say why it could not write a file.
        picture = io.BytesIO()
        Image.fromarray(pixels).save(picture, "JPEG", quality=90)
        replace_file(folder / names[at], picture.getvalue())
    return names
