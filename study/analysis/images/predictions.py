"""Predictions for labelled images: confusion of classes and calibration."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.images.calibration import BINS, bins_of
from study.intervals.estimate import wilson
from tl_core.text import natural_key, printable


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of N images of K classes."""

    split: str
    """`test` or `val`."""
    classes: tuple[str, ...]
    """[K] printable names."""
    images: tuple[str, ...]
    """[N] printable names."""
    labels: NDArray[np.int64]
    """[N]."""
    predicted: NDArray[np.int64]
    """[N], predicted classes."""
    probabilities: NDArray[np.float64]
    """[N, K]."""
    pictures: tuple[str, ...]
    """[N], files of the most confident errors, relative to the folder; empty for other images."""

    @property
    def confidence(self) -> NDArray[np.float64]:
        """[N], probability of the most probable class."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """[N], whether each prediction is right."""
        return np.asarray(self.predicted == self.labels)


@dataclass(frozen=True)
class Confusion:
    """Images by true class (rows) and predicted class (columns)."""

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    """[K, K]."""


@dataclass(frozen=True)
class Bin:
    """Predictions of similar confidence."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean over the bin."""
    accuracy: float
    accuracy_low: float
    """Wilson's 95 % interval."""
    accuracy_high: float


@dataclass(frozen=True)
class Confused:
    """Images of one class that were predicted as another."""

    true: str
    predicted: str
    count: int
    share: float
    """Of all images of the true class."""


def read_predictions(folder: Path, classes: Sequence[str]) -> Predictions:
    """Read the `predictions.csv` that `tl_core.inference.winner` writes."""
    words = ("image", "label", "predicted", "split", "mistake")  # A class may be called 1 or NA.
    table = pd.read_csv(
        folder / "predictions.csv",
        dtype=dict.fromkeys(words, object),
        keep_default_na=False,
        encoding_errors="surrogateescape",  # Names of files and folders need not be UTF-8.
    )
    number = {name: k for k, name in enumerate(classes)}
    return Predictions(
        split=table["split"].iloc[0],
        classes=tuple(map(printable, classes)),
        images=tuple(map(printable, table["image"])),
        labels=np.array([number[name] for name in table["label"]], dtype=np.int64),
        predicted=np.array([number[name] for name in table["predicted"]], dtype=np.int64),
        probabilities=table[[f"p_{k}" for k in range(len(classes))]].to_numpy(np.float64),
        pictures=tuple(table["mistake"]),
    )


def confusion(predictions: Predictions, most: int = 15) -> Confusion:
    """Count images; above `most` classes, keep those with most errors and merge the others.

    The classes are in natural order: 2 before 10.
    """
    k, names = len(predictions.classes), predictions.classes
    natural = sorted(range(k), key=lambda i: natural_key(names[i]))
    pairs = predictions.labels * k + predictions.predicted
    counts = np.bincount(pairs, minlength=k * k).reshape(k, k)
    if k <= most:
        return Confusion(tuple(names[i] for i in natural), counts[np.ix_(natural, natural)])
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    most_wrong = {*np.argsort(-wrong, kind="stable")[:most].tolist()}
    kept = np.array([i for i in natural if i in most_wrong])
    group = np.full(k, most)
    group[kept] = np.arange(most)
    folded = np.zeros((most + 1, most + 1), dtype=np.int64)
    np.add.at(folded, (group[:, None], group[None, :]), counts)
    return Confusion((*(names[i] for i in kept), f"{k - most} others"), folded)


def most_confused(predictions: Predictions) -> list[Confused]:
    """Return the ten most frequent errors, the most frequent first."""
    wrong = ~predictions.right
    labels, predicted = predictions.labels[wrong].tolist(), predictions.predicted[wrong].tolist()
    sizes = np.bincount(predictions.labels, minlength=len(predictions.classes))
    names = predictions.classes
    return [
        Confused(names[t], names[p], count, float(count / sizes[t]))
        for (t, p), count in Counter(sorted(zip(labels, predicted, strict=True))).most_common(10)
    ]


def calibration(predictions: Predictions, bins: int = BINS) -> list[Bin]:
    """Group predictions by confidence, in equal bins (low, high], without empty bins.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """
    edges, places = np.linspace(0, 1, bins + 1), bins_of(predictions.confidence, bins)
    found = []
    for i in np.unique(places):
        inside = places == i
        count, hits = int(inside.sum()), int(predictions.right[inside].sum())
        low, high = float(edges[i]), float(edges[i + 1])
        confidence = float(predictions.confidence[inside].mean())
        found.append(Bin(low, high, count, confidence, hits / count, *wilson(hits / count, count)))
    return found
