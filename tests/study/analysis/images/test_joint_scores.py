"""Scores of several cells at once, against those of one cell, and against hand-computed values."""

from itertools import pairwise

import numpy as np
import pytest

from study.analysis.images.image_scores import OF_ALL_IMAGES, ImageScores, linear_values
from study.analysis.images.joint_scores import constant_scores, joint_scores
from study.intervals.two_way import DIFFERENCE_PSEUDO, SHARE_PSEUDO
from tests.support.studies.image_tables import of_logits

LABELS = np.repeat([0, 1], [96, 24])
SCORES = pytest.mark.parametrize("score", OF_ALL_IMAGES)


def networks(
    chance: np.random.Generator, apart: float, labels: np.ndarray = LABELS,
    groups: np.ndarray | None = None,
) -> list[ImageScores]:  # fmt: skip
    """Three networks whose logits of the two classes are that far apart, around 0."""
    logits = chance.standard_normal((3, len(labels))) + apart * (labels - 0.5)
    return [of_logits(labels, row[:, None], groups=groups) for row in logits]


@SCORES
@pytest.mark.parametrize("groups", [None, np.arange(120) // 3], ids=["images", "groups"])
def test_one_cell_of_many_is_as_alone(score: str, groups: np.ndarray | None) -> None:
    chance = np.random.default_rng(0)
    cells = [networks(chance, apart, groups=groups) for apart in (2.0, 2.2, 2.5)]
    joint = joint_scores(score, cells, SHARE_PSEUDO)
    leads = joint_scores(score, cells[1:], DIFFERENCE_PSEUDO, cells[:-1])
    assert joint is not None
    assert leads is not None
    for i, cell in enumerate(cells):
        alone = OF_ALL_IMAGES[score](cell, [])
        one = joint.combine(np.eye(3)[i])
        assert one.center == pytest.approx(alone.center, abs=0.03), "of the pseudo-images"
        assert one.half_width() == pytest.approx(alone.half_width(), rel=0.2)
    for i, (a, b) in enumerate(pairwise(cells)):
        alone, one = OF_ALL_IMAGES[score](b, a), leads.combine(np.eye(2)[i])
        assert one.center == pytest.approx(alone.center, abs=0.01)
        assert one.half_width() == pytest.approx(alone.half_width(), rel=0.2)


@SCORES
def test_linear_values_have_the_score_as_their_mean(score: str) -> None:
    cell = networks(np.random.default_rng(0), 2.0)
    values = linear_values(score, cell)
    assert values.shape == (3, 120)
    for one, row in zip(cell, values, strict=True):
        expected = {
            "test_auroc": one.auroc_draws[0],
            "test_balanced_accuracy": np.mean(
                [(one.chosen == one.labels)[one.labels == c].mean() for c in (0, 1)]
            ),
            "test_macro_f1": np.mean([
                2 * ((one.chosen == c) & (one.labels == c)).sum()
                / ((one.chosen == c).sum() + (one.labels == c).sum()) for c in (0, 1)
            ]),
        }  # fmt: skip
        assert row.mean() == pytest.approx(expected[score])


def test_auroc_by_hand() -> None:
    """Of 2 x 2 pairs three are right; the first image of class 1 ranks above one of two."""
    one = of_logits(np.array([0, 0, 1, 1]), np.array([[0.0], [2.0], [1.0], [3.0]]))
    # Each image is 1/4 from the mean of its class, which has two: times sqrt(2), and sqrt(3/4), as
    # a table of four makes up for a share of 1/4 itself. A value is twice that: N / n.
    far = 2 * 0.25 * np.sqrt((1 - 1 / 4) / (1 - 1 / 2))
    expected = 0.75 + far * np.array([1, -1, -1, 1])
    assert linear_values("test_auroc", [one])[0] == pytest.approx(expected)


def test_a_class_with_one_image_tells_nothing_of_others() -> None:
    labels = np.append(np.zeros(20, np.int64), 1)
    cells = [networks(np.random.default_rng(0), 2.0, labels)]
    for score in OF_ALL_IMAGES:
        assert joint_scores(score, cells, SHARE_PSEUDO) is None
    several = np.append(np.zeros(20, np.int64), np.arange(1, 4))
    chosen = np.random.default_rng(0).standard_normal((3, 23, 4))
    cell = [of_logits(several, logits) for logits in chosen]
    assert joint_scores("test_macro_f1", [cell], SHARE_PSEUDO) is not None, "as one table"


def test_a_rare_class_has_few_degrees_of_freedom() -> None:
    """Where all of the large class are right, only four images tell."""
    labels = np.repeat([0, 1], [100, 4])
    logits = np.where(labels == 1, 1.0, -1.0) * np.ones((3, 1))
    logits[:, -1] = -1
    cell = [of_logits(labels, row[:, None]) for row in logits]
    found = joint_scores("test_balanced_accuracy", [cell], SHARE_PSEUDO)
    assert found is not None
    assert found.free_images == pytest.approx(3)


def test_scores_of_a_constant() -> None:
    assert constant_scores(np.repeat([0, 1, 3], [5, 3, 2])) == {
        "test_accuracy": 0.5, "test_balanced_accuracy": 1 / 3, "test_auroc": 0.5,
    }  # fmt: skip
