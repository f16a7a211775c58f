"""The converged probe against scikit-learn's logistic regression, over the same penalties."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.common import seconds
from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import Row, agree, measured, rounds
from tl_core.data.splits import Split, make_split
from tl_core.inputs.features import load_features
from tl_core.linear.probe import Probe, solve_probe
from tl_core.linear.subset import penalty_grid
from tl_core.models.heads import probabilities

_RATIO = 0.1
_CLASSES = 10
_TOLERANCE = 1e-6
"""Of scikit-learn; at its default, 1e-4, probabilities are off by 0.01, and at 1e-5 by 0.001."""
_APART = 1e-3
"""How far a probability may be from scikit-learn's."""


def probe(bench: Bench) -> Iterator[Row]:
    """With the classes of the data, and with ten that are drawn from the features."""
    features = load_features(bench.images, bench.backbone, bench.cache, bench.device)
    yield _row(bench, features, bench.images.labels, bench.pick(4, 2))
    yield _row(bench, features, draw_labels(features), 1)


def draw_labels(features: np.ndarray) -> np.ndarray:
    """Ten classes of equally many images, which the features tell in part."""
    random = np.random.default_rng(0)
    along = (features - features.mean(0)) @ random.normal(size=features.shape[1])
    noisy = along / along.std() + 0.3 * random.normal(size=len(along))
    ranks: np.ndarray = noisy.argsort().argsort()
    return ranks * _CLASSES // len(along)


def _row(bench: Bench, features: np.ndarray, labels: np.ndarray, seeds: int) -> Row:
    splits = [make_split(labels, _RATIO, seed=seed) for seed in range(seeds)]
    solved: list[Probe] = []
    fitted: list[list[np.ndarray]] = []
    runs = {
        "scikit-learn": lambda: fitted.append([_plain(features, labels, s) for s in splits]),
        "ours": lambda: solved.append(_ours(bench, features, labels, splits)),
    }
    timed = {name: partial(seconds, run) for name, run in runs.items()}
    rounds(timed, 1)  # A warm-up.
    found = rounds(timed, bench.repeats, bench.log)
    classes = len(np.unique(labels))
    details = {
        "seeds": seeds,
        "training_images": len(splits[0].train),
        "features": features.shape[1],
        "threads": torch.get_num_threads(),
        "ms_a_seed": {
            name: [round(1000 * each[name] / seeds, 1) for each in found] for name in runs
        },
    }
    each = zip(splits, fitted[0], strict=True)
    apart = max(_apart(solved[0], s, own, features, split) for s, (split, own) in enumerate(each))
    gate = agree("largest difference of a probability", apart, 0, _APART)
    what = f"all penalties for {classes} classes: scikit-learn's time against that of the probe"
    values = [each["scikit-learn"] / each["ours"] for each in found]
    return measured(f"probe-{classes}", what, values, gate, details=details)


def _ours(bench: Bench, features: np.ndarray, labels: np.ndarray, splits: list[Split]) -> Probe:
    """It includes the brightness."""
    brightness = torch.from_numpy(bench.images.brightness)
    trains, classes = [split.train for split in splits], len(np.unique(labels))
    tensors = torch.from_numpy(features), torch.from_numpy(labels), brightness
    return solve_probe(*tensors, trains, splits[0].val, classes)


def _plain(features: np.ndarray, labels: np.ndarray, split: Split) -> np.ndarray:
    """Probabilities on validation for each penalty, [45, N, K].

    In the fastest way that passes the gate: by L-BFGS, from strong to weak, each fit from the
    solution of the one before. It is float64: in float32 its line search breaks down.
    """
    train = split.train
    x = features - features[train].mean(0, dtype=np.float64)
    x /= np.sqrt((x[train] ** 2).mean())
    model = LogisticRegression(tol=_TOLERANCE, max_iter=10_000, warm_start=True)
    found = []
    for l2 in penalty_grid(len(train), x.shape[1]).tolist():
        model.set_params(C=1 / (l2 * len(train))).fit(x[train], labels[train])
        found.append(model.predict_proba(x[split.val]))
    return np.stack(found)


def _apart(
    solved: Probe, seed: int, fitted: np.ndarray, features: np.ndarray, split: Split
) -> float:
    """Largest difference of a probability on validation, at the penalty that the probe chose."""
    grid = penalty_grid(len(split.train), features.shape[1])
    chosen = int((grid == solved.l2[seed, 0]).nonzero())
    rows = torch.from_numpy(features[split.val])
    logits = rows @ solved.weight[seed, :-1].T + solved.bias[seed, :-1]
    return float(np.abs(probabilities(logits).numpy() - fitted[chosen]).max())
