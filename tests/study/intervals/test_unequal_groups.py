"""Groups of unequal sizes: in simulation, their intervals hold."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from study.intervals.by_class_grouped import balanced_accuracy_table, grouped_interval
from study.intervals.estimate import unit_ends
from study.intervals.grouped import by_groups, free_groups
from study.intervals.pigeonhole import auroc_draws, auroc_interval
from study.intervals.two_way import DIFFERENCE_PSEUDO, SHARE_PSEUDO, two_way

DRAWS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "lognormal": lambda chance: np.maximum(1, np.exp(chance.normal(1.2, 1.1, 16)).round()),
    "one large": lambda _: np.array([25, 1, 1, 1, 1, 1] * 2),
    "equal": lambda _: np.full(16, 5),
}
"""Sizes of the groups of two classes: the first half are of the first class."""


@pytest.mark.integration
@pytest.mark.parametrize("sizes", DRAWS)
def test_intervals_hold_where_groups_have_unequal_sizes(sizes: str) -> None:
    """Of networks whose logit of the true class is 2.5 +- 1.8; half of it is of the group."""
    chance = np.random.default_rng(3)
    logits = 2.5 + 1.8 * np.random.default_rng(0).normal(size=10**6)
    share, loss = (logits > 0).mean(), np.logaddexp(0, -logits).mean()
    area = stats.norm.cdf(2 * 2.5 / 1.8 / np.sqrt(2))
    covered, differs = [], []
    for _ in range(80):
        drawn = DRAWS[sizes](chance).astype(int)
        groups = np.repeat(np.arange(len(drawn)), drawn)
        labels = (groups >= len(drawn) // 2).astype(np.int64)
        of_group = chance.normal(size=(1, len(drawn)))[:, groups]
        own_of_group = chance.normal(size=(2, 1, len(drawn)))[..., groups]
        alike = np.sqrt(0.4) * of_group + np.sqrt(0.1) * own_of_group
        rest = np.sqrt(0.3) * chance.normal(size=(1, len(groups)))
        each = np.sqrt(0.2) * chance.normal(size=(2, 3, len(groups)))
        networks = 2.5 + 1.8 * (alike + rest + each)
        losses, free = np.logaddexp(0, -networks), free_groups(groups)
        chosen = np.where(networks > 0, labels, 1 - labels)
        tables = [balanced_accuracy_table(one, labels, groups) for one in chosen]
        draws = np.array(
            [
                [auroc_draws((x * (2 * labels - 1))[:, None], labels, groups) for x in one]
                for one in networks
            ]
        )
        balanced = grouped_interval(tables[0], labels, groups, SHARE_PSEUDO)
        of_loss = two_way(by_groups(losses[0], groups), free=free)
        ends = [balanced.ends(), of_loss.positive_ends()]
        ends.append(unit_ends(auroc_interval(draws[0], labels, groups)))
        covered.append(
            [
                low <= truth <= high
                for (low, high), truth in zip(ends, (share, loss, area), strict=True)
            ]
        )
        differs.append(
            [
                t.p_value() < 0.05
                for t in (
                    grouped_interval(tables[0] - tables[1], labels, groups, DIFFERENCE_PSEUDO),
                    two_way(by_groups(losses[0] - losses[1], groups), free=free),
                    auroc_interval(draws[0] - draws[1], labels, groups),
                )
            ]
        )
    assert np.mean(covered, axis=0).min() >= 0.9
    assert np.mean(differs, axis=0).max() <= 0.06
