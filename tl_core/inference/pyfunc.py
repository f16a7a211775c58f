"""The loader that MLflow calls for a saved model; it does not import MLflow."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pandas as pd

from tl_core.inference.model import Model
from tl_core.inference.serialization import load_model
from tl_core.inference.sound_device import sound_device


@dataclass(frozen=True)
class PyfuncModel:
    """A model as a function of tables."""

    model: Model

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict any number of images.

        Args:
            model_input: its column `image` holds the content of an image file, as bytes. Not its
                path: clients of a served model could then read the server's files by name.
            params: ignored.

        Returns:
            One row per row of the input, in its order: class, probability (of that class),
            probabilities (of all classes, in order) and the auxiliary task's value, under its key,
            such as brightness (if that head learned).

        Raises:
            InputError: names, by number from 0, the images that can't be decoded.
        """
        found = self.model.predict(BytesIO(content) for content in model_input["image"])
        columns: dict[str, Any] = {
            # As objects: pandas' own text is UTF-8, and the name of a class need not be.
            "class": pd.Series([each.class_name for each in found], dtype=object),
            "probability": [each.probability for each in found],
            "probabilities": [list(each.probabilities) for each in found],
        }
        # Omitted rather than empty: a server would write NaN, which is not JSON.
        task = self.model.about.aux
        if task.name in self.model.about.learned:
            values = [each.auxiliary for each in found]
            dtype = object if task.kind == "classification" else None
            columns[task.key] = pd.Series(values, dtype=dtype)
        return pd.DataFrame(columns)


def _load_pyfunc(path: str) -> PyfuncModel:
    device, why = sound_device()
    if why:
        warnings.warn(why, stacklevel=2)
    return PyfuncModel(load_model(path, device))
