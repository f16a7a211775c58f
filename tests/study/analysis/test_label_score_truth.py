"""What is said of labels in balanced accuracy and AUROC, in studies whose truth is known.

The classes have 80 and 20 % of the images.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from study.analysis.comparisons import difference
from study.analysis.estimates import Confirmed, by_cell
from study.analysis.extrapolation import extrapolate
from study.analysis.label_efficiency import crossovers, labels_saved
from study.intervals.two_way import Floats
from tests.support.studies.builders import make_confirmed
from tests.support.studies.image_tables import of_logits, seen
from tests.support.studies.simulated_hits import Chance, Photos
from tl_core.config import Mode

pytestmark = pytest.mark.integration

BALANCED, AUROC = "test_balanced_accuracy", "test_auroc"
RATIOS = np.array([0.01, 0.03, 0.1, 0.3, 0.8])
WORLDS = [
    Photos(seeds, images, shared, own=0.05)
    for seeds, images, shared in itertools.product((3, 5), (60, 240), (0.5, 0.9))
]
LEAD = 0.08 * np.log10(RATIOS / 0.1)
TWO: tuple[Mode, Mode] = ("finetune", "freeze")


def labels_of(photos: Photos) -> np.ndarray:
    return np.repeat([0, 1], [photos.images * 4 // 5, photos.images // 5])


def judged(
    photos: Photos, hits: Floats, modes: Sequence[Mode], ratios: Iterable[float]
) -> list[Confirmed]:
    """The trials of a study, from hits [M, R, S, N]."""
    cells = [
        (mode, ratio, cell)
        for mode, curve in zip(modes, hits, strict=True)
        for ratio, cell in zip(ratios, curve, strict=True)
    ]
    labels = labels_of(photos)
    return [c for m, r, cell in cells for c in seen(m, r, cell, labels=labels, ranked=False)]


def ranked(chance: Chance, photos: Photos, areas: Floats, modes: Sequence[Mode]) -> list[Confirmed]:
    """The trials of a study whose true AUROC are [M, R]: the classes' logits are normal."""
    (m, r), (s, n) = areas.shape, (photos.seeds, photos.images)
    logits = np.sqrt(2) * stats.norm.ppf(areas)[:, :, None, None] * labels_of(photos)
    for variance, shape in (
        (photos.shared, (n,)), (photos.own, (m, 1, 1, n)),
        (1 - photos.shared - photos.own, (m, r, s, n)),
    ):  # fmt: skip
        logits = logits + np.sqrt(variance) * chance.standard_normal(shape)
    found = []
    for mode, curve in zip(modes, logits, strict=True):
        for ratio, cell in zip(RATIOS, curve, strict=True):
            for trial, row in zip(make_confirmed(mode, ratio, [0.5] * s), cell, strict=True):
                images = of_logits(labels_of(photos), row[:, None])
                scores = trial.scores | {AUROC: float(images.auroc_draws[0])}
                found.append(replace(trial, images=images, scores=scores))
    return found


def covers_crossover(trials: list[Confirmed], score: str) -> bool | None:
    """Whether the interval holds 0.1; None without a crossover."""
    (found,) = crossovers(trials, score)
    if found.ratio is None:
        return None
    bounded = found.low is not None and found.high is not None
    inside = (found.low or 0) <= 0.1 <= (found.high or 1)
    return inside and (found.after == "finetune" or not bounded)


def covers_beyond(trials: list[Confirmed], score: str, at_twice: float) -> list[bool]:
    """Whether the intervals hold the score at twice the labels and the gain from 0.95."""
    found = extrapolate(trials, "freeze", score=score)
    if found is None:
        return []
    pairs = ((found.levels[2], 1 - at_twice), (found.gains[2], 0.05 - at_twice))
    return [(e.low or 0) <= truth <= (e.high or 0) for e, truth in pairs]


def test_the_gain_is_covered() -> None:
    covered = []
    for photos in WORLDS:
        inside = []
        for hits in photos.hits(np.random.default_rng(0), 200, np.array([[0.8, 0.9]])):
            cells = by_cell(judged(photos, hits, ["freeze"], (0.1, 0.8)))
            few, many = cells
            found = difference(cells, many, few, BALANCED)
            assert found is not None
            e = found.estimate
            inside.append((e.low or 0) <= 0.1 <= (e.high or 0))
        covered.append(np.mean(inside))
    assert min(covered) >= 0.94


def test_a_mode_that_is_worse_by_the_margin_seldom_matches() -> None:
    wrong = []
    for photos in WORLDS:
        margin = {60: 0.05, 240: 0.02}[photos.images]  # An image of the small class, or more.
        for score in (0.90, 0.97):
            truth = np.array([[score - margin], [score]])
            matches = []
            for hits in photos.hits(np.random.default_rng(0), 100, truth):
                trials = judged(photos, hits[:1], ["freeze"], (0.1,))
                trials += judged(photos, hits[1:], ["scratch"], (0.8,))
                saved = labels_saved(trials, BALANCED)
                assert saved[0].margin == margin
                matches.append(any(s.match for s in saved if (s.a, s.b) == ("freeze", "scratch")))
            wrong.append(np.mean(matches))
    assert max(wrong) <= 0.04


@pytest.mark.parametrize("score", [BALANCED, AUROC])
def test_crossovers_are_covered(score: str) -> None:
    truth, covered = np.array([0.88 + LEAD / 2, 0.88 - LEAD / 2]), []
    for photos in WORLDS:
        chance = np.random.default_rng(0)
        if score == BALANCED:
            drawn = (judged(photos, h, TWO, RATIOS) for h in photos.hits(chance, 40, truth))
        else:
            drawn = (ranked(chance, photos, truth, TWO) for _ in range(25))
        found = [covers_crossover(trials, score) for trials in drawn]
        covered.append(np.mean([x for x in found if x is not None]))
    assert min(covered) >= 0.9


@pytest.mark.parametrize("score", [BALANCED, AUROC])
@pytest.mark.parametrize(("gamma", "least"), [(0.3, 0.025), (0.5, 0.025), (0.8, 0.045)])
def test_what_more_labels_buy_is_covered(score: str, gamma: float, least: float) -> None:
    b, covered = (0.05 - least) * 0.8**gamma, []
    truth = 1 - np.minimum(least + b * RATIOS**-gamma, 0.5)[None]
    for photos in WORLDS:
        chance = np.random.default_rng(0)
        if score == BALANCED:
            hits = photos.hits(chance, 40, truth)
            drawn = (judged(photos, h, ["freeze"], RATIOS) for h in hits)
        else:
            drawn = (ranked(chance, photos, truth, ["freeze"]) for _ in range(20))
        inside = [covers_beyond(trials, score, least + b * 1.6**-gamma) for trials in drawn]
        covered += [x for x in inside if x]
    assert len(covered) > 60
    assert np.mean(covered, axis=0).min() >= 0.93
