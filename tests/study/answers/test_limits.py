"""Networks that know nothing seldom seem to know something."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from study.analysis.estimates import Confirmed, summarize
from study.answers.limits import beats_constant
from study.intervals.estimate import Estimate
from study.intervals.two_way import TInterval
from study.search.cells import Cell
from tests.study.answers.test_recommendation import FREEZE, NET, PROBE, unequal
from tests.support.studies.builders import make_confirmed
from tests.support.studies.image_tables import of_logits, seen


def guessed(
    cell: Cell,
    labels: np.ndarray,
    rng: np.random.Generator,
    hard: np.ndarray | float = 0.0,
    groups: np.ndarray | None = None,
    seeds: int = 3,
    skills: Sequence[float] = (0.0,) * 3,
) -> list[Confirmed]:
    """Networks that agree on much, as on real images, and know as much of the labels as `skills`.

    With a skill of 0 they know nothing.
    """
    n_groups = len(labels) if groups is None else int(groups.max()) + 1
    alike = rng.normal(size=(n_groups, int(labels.max()) + 1))
    hard = hard + (alike if groups is None else alike[groups])
    found = []
    for trial, skill in zip(make_confirmed(*cell, [0.0] * seeds), skills, strict=False):
        logits = 0.9 * hard + 0.4 * rng.normal(size=hard.shape)
        logits[np.arange(len(labels)), labels] += skill
        right = (logits.argmax(axis=1) == labels).astype(float)
        if logits.shape[1] == 2:
            logits = logits[:, 1:] - logits[:, :1]
        images = of_logits(labels, logits, {"test_accuracy": right}, groups)
        recalls = [right[labels == label].mean() for label in range(labels.max() + 1)]
        scores = {"test_accuracy": right.mean(), "test_balanced_accuracy": np.mean(recalls)}
        scores["test_auroc"] = images.auroc_draws[0]
        own = {name: float(value) for name, value in scores.items()}
        found.append(replace(trial, scores=own, images=images))
    return found


@pytest.mark.integration
@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("counts", [(30, 30), (40, 8), (20, 1)])
def test_networks_that_know_nothing_seldom_seem_to_know_something(
    counts: tuple[int, int], seeds: int
) -> None:
    """In at most 5 % of 200 studies of three modes."""
    rng, labels = np.random.default_rng(5), np.repeat([0, 1], counts)
    fooled = []
    for _ in range(200):
        cells = (NET, PROBE, FREEZE)
        confirmed = [c for cell in cells for c in guessed(cell, labels, rng, seeds=seeds)]
        fooled.append(beats_constant(summarize(confirmed), labels))
    assert np.mean(fooled) <= 0.05


@pytest.mark.integration
@pytest.mark.parametrize(("classes", "of_class"), [(2, 1), (2, 2), (2, 3), (2, 6), (5, 1)])
def test_networks_that_know_nothing_of_groups_seldom_seem_to(classes: int, of_class: int) -> None:
    """In at most 5 % of 100 studies, whose networks take images of a group for the same class."""
    rng, labels = np.random.default_rng(5), np.repeat(np.arange(classes), 10 * of_class)
    groups, fooled = np.arange(len(labels)) // 10, []
    for _ in range(100):
        hard = rng.normal(size=(classes * of_class, classes))[groups]
        cells = (NET, PROBE, FREEZE)
        confirmed = [c for cell in cells for c in guessed(cell, labels, rng, hard, groups)]
        fooled.append(beats_constant(summarize(confirmed), labels, groups))
    assert np.mean(fooled) <= 0.05


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_good_networks_are_known_to_be_good_however_much_seeds_differ(seeds: int) -> None:
    """Right on about 90 % of 120 images; two seeds hardly tell how much seeds differ."""
    rng, labels = np.random.default_rng(5), np.repeat([0, 1], 60)
    for _ in range(20):
        skills = rng.normal(1.8, 0.3, size=seeds).tolist()
        confirmed = guessed(PROBE, labels, rng, seeds=seeds, skills=skills)
        assert beats_constant(summarize(confirmed), labels)


@pytest.mark.parametrize(("groups", "better"), [(5, False), (6, True)])
def test_auroc_of_few_groups_does_not_exclude_chance(groups: int, better: bool) -> None:
    labels = np.repeat([0, 1], 5 * groups)
    best = summarize(seen(*PROBE, np.tile(np.arange(10 * groups) % 2, (3, 1)), labels=labels))[0]
    t = TInterval(np.array(0.9), np.array(0.01), np.array(1e6))
    cell = replace(best, scores={"test_auroc": Estimate(0.9, 0.88, 0.92, 3, images=100, t=t)})
    assert beats_constant([cell], labels, np.arange(10 * groups) // 5) == better
    assert beats_constant([cell], labels)


@pytest.mark.parametrize(("low", "better"), [(0.501, False), (0.6, True)])
def test_what_excludes_chance_counts_for_all_scores_together(low: float, better: bool) -> None:
    best = summarize(seen(*PROBE, unequal((45, 5)), labels=np.repeat([0, 1], [90, 10])))[0]
    t = TInterval(np.array(0.7), np.array((0.7 - low) / 1.96), np.array(1e6))
    auroc = Estimate(0.7, low, 0.9, 3, images=100, t=t)
    cell = replace(best, scores={**best.scores, "test_auroc": auroc})
    assert beats_constant([cell], np.repeat([0, 1], [90, 10])) == better
