"""What a study keeps of its winner: the model, what it predicts, and its worst mistakes."""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tl_core.config import TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.files import replace_file
from tl_core.inference.model import Model
from tl_core.inference.model_card import HEADS, ModelInfo
from tl_core.inference.serialization import save_model
from tl_core.models.heads import choose, probabilities
from tl_core.training.train import TrialResult, needs_pretrained

PREDICTIONS, MISTAKES = "predictions.csv", "mistakes"
MOST_MISTAKES = 12
"""Pictures in the gallery."""


def save_winner(folder: Path, result: TrialResult, config: TrialConfig, images: ImageSet) -> None:
    """Write the model and its predictions into `folder`; nothing else is needed to report them.

    Args:
        folder: made if it isn't there; files of an earlier winner are replaced.
        result: what `run_trial` gave. Of a frozen trial of several seeds it holds the first
            seed's heads, so these predictions are theirs while its scores are all seeds' means.
        config: what `run_trial` was given.
        images: likewise.
    """
    model = trained_model(result, config, images)
    save_model(folder, model)
    # The test set is read here only if the trial has read it already.
    split = "test" if result.test else "val"
    write_predictions(folder, model, images, getattr(result.split, split), split)


def trained_model(result: TrialResult, config: TrialConfig, images: ImageSet) -> Model:
    """The net of a finished trial as a model, where it is and without a copy."""
    idle = {0: "brightness", 1: "class", "auto": None}.get(config.aux_weight)
    about = ModelInfo(
        backbone=config.backbone,
        pretrained=needs_pretrained(config.mode) and config.weights != "none",
        n_features=result.backbone.n_features,
        classes=images.classes,
        image_size=config.image_size,
        mean=result.backbone.mean,
        std=result.backbone.std,
        precision=config.precision,
        learned=tuple(head for head in HEADS if head != idle),
        config=config.model_dump(),
    )
    return Model(result.net, about)


def write_predictions(
    folder: Path, model: Model, images: ImageSet, rows: np.ndarray, split: str
) -> None:
    """Write `predictions.csv`, one line an image, and pictures of the surest mistakes.

    Its columns: image (its id), label, predicted, split, brightness, predicted_brightness (empty
    if that head never learned), a probability for each class in the order of the labels (p_0,
    p_1, ...), and mistake: the picture of this row, relative to `folder`, if it is one of the up
    to 12 in `mistakes/`, 01 being the surest.

    Args:
        folder: where; pictures of earlier mistakes there are removed.
        model: what predicts.
        images: the data set that it was trained on.
        rows: int64 [B], the images of the split.
        split: its name.
    """
    table = predict_rows(model, images, rows)
    table.insert(3, "split", split)
    table["mistake"] = _save_mistakes(folder, table, images, rows)
    # Names of files and folders need not be valid UTF-8, and unquoted, a carriage return in one
    # would end the line.
    text: str = table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)
    replace_file(folder / PREDICTIONS, text.encode(errors="surrogateescape"))


def read_predictions(folder: Path) -> pd.DataFrame:
    """Read what `write_predictions` wrote into `folder`; a class may be called `NA` or `1`."""
    words = dict.fromkeys(("image", "label", "predicted", "split", "mistake"), object)
    return pd.read_csv(
        folder / PREDICTIONS,
        dtype=words,
        keep_default_na=False,
        na_values={"predicted_brightness": [""]},
        encoding_errors="surrogateescape",
    )


def predict_rows(model: Model, images: ImageSet, rows: np.ndarray) -> pd.DataFrame:
    """Predictions beside the truth, one line for each of the images `rows`."""
    logits, brightness = model.outputs(images.pixels, rows)
    each = probabilities(logits.double()).numpy()  # [B, K]
    tells_brightness = "brightness" in model.about.learned
    classes = model.about.classes
    table = {
        "image": _pick(images.ids, rows),
        "label": _pick(classes, images.labels[rows]),
        "predicted": _pick(classes, choose(logits).numpy()),
        "brightness": images.brightness[rows],
        "predicted_brightness": brightness.numpy() if tells_brightness else np.nan,
    }
    return pd.DataFrame(table | {f"p_{k}": each[:, k] for k in range(each.shape[1])})


def _pick(names: Sequence[str], at: np.ndarray) -> pd.Series:
    # Names of files and folders need not be valid UTF-8, as pandas' own strings must.
    return pd.Series([names[i] for i in at], dtype=object)


def _save_mistakes(
    folder: Path, table: pd.DataFrame, images: ImageSet, rows: np.ndarray
) -> list[str]:
    """Save the surest mistakes as pictures; return the path of each row's, or ''."""
    pictures = folder / MISTAKES
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    sureness = table.filter(regex=r"^p_\d+$").max(axis=1)
    wrong = sureness[table["label"] != table["predicted"]]
    names = [""] * len(table)
    surest = wrong.sort_values(ascending=False, kind="stable").index[:MOST_MISTAKES]
    for number, at in enumerate(surest, start=1):
        names[at] = f"{MISTAKES}/{number:02d}.jpg"
        pixels = images.pixels[rows[at]].transpose(1, 2, 0)
        # Through memory: Pillow does not tell why it could not write a file.
        picture = io.BytesIO()
        Image.fromarray(pixels).save(picture, "JPEG", quality=90)
        replace_file(folder / names[at], picture.getvalue())
    return names
