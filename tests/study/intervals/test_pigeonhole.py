import numpy as np
import pytest
import torch
from scipy import stats

from study.intervals.estimate import unit_ends
from study.intervals.pigeonhole import FEWEST_DRAWS, MOST_DRAWS, auroc_draws, auroc_interval
from tests.support.studies.simulated_hits import half_of_seeds
from tl_core.objectives.metrics import auroc

LABELS = np.arange(120) % 2


def logits_of(rng: np.random.Generator, labels: np.ndarray, gap: float) -> np.ndarray:
    """A network that ranks the classes so far apart, in standard deviations."""
    found: np.ndarray = rng.normal(size=(len(labels), 1)) + gap * labels[:, None]
    return found


@pytest.mark.parametrize("k", [1, 3])
def test_first_draw_is_the_score_itself(k: int) -> None:
    labels = np.arange(60) % max(k, 2)
    logits = np.random.default_rng(0).normal(size=(60, k)).round(1)  # With ties.
    expected = auroc(torch.from_numpy(logits), torch.from_numpy(labels))
    draws = auroc_draws(logits, labels)
    assert draws[0] == pytest.approx(float(expected))
    assert len(draws) == 1 + MOST_DRAWS


@pytest.mark.parametrize("k", [1, 3])
def test_large_test_sets_take_fewer_draws_to_first_order(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(3000) % max(k, 2)
    logits = np.random.default_rng(0).normal(size=(3000, k)).round(1)
    logits += 2.0 * (labels[:, None] == (1 if k == 1 else np.arange(k)))
    expected = auroc(torch.from_numpy(logits), torch.from_numpy(labels))
    monkeypatch.setattr("study.intervals.pigeonhole._is_large", lambda *_: True)
    linear = auroc_draws(logits, labels)
    monkeypatch.setattr("study.intervals.pigeonhole._is_large", lambda *_: False)
    exact = auroc_draws(logits, labels)
    assert linear[0] == pytest.approx(float(expected))
    assert len(linear) == len(exact) >= 1 + FEWEST_DRAWS
    assert (linear - exact).std() < 0.05 * exact.std()
    assert len(auroc_draws(logits[:, :1], labels)) == 1 + 1000


def test_a_draw_is_the_score_of_the_images_drawn() -> None:
    labels = np.array([0, 0, 1, 1])
    # Of two images a class, AUROC on any draw is 0, 1/4, 1/2, 3/4 or 1.
    draws = auroc_draws(np.array([[0.0], [2.0], [1.0], [3.0]]), labels)
    assert draws[0] == 0.75
    assert set(draws.round(6)) <= {0, 0.25, 0.5, 0.75, 1}
    # One image twice in each class has a chance of 1/4: the draw is 0 if they are the 2 and the 1.
    assert np.mean(draws[1:] == 0) == pytest.approx(1 / 16, abs=0.03)


def test_standard_error_is_that_of_images_or_seeds_if_only_they_vary() -> None:
    rng = np.random.default_rng(1)
    logits = logits_of(rng, LABELS, 1.5)
    draws = np.array([auroc_draws(logits, LABELS)] * 3)
    # Hanley and McNeil (1982), formula 2, for 60 of each class and AUROC A.
    a = draws[0, 0]
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    expected = np.sqrt((a * (1 - a) + 59 * (q1 - a * a) + 59 * (q2 - a * a)) / 3600)
    t = auroc_interval(draws, LABELS)
    assert t.error == pytest.approx(expected, rel=0.15)
    assert t.df == pytest.approx(118), "no seed differs"
    seeds = np.repeat(np.array([[0.7], [0.8], [0.9]]), 50, axis=1)
    seeds[:, 1:] += rng.normal(0, 1e-4, 49)
    t = auroc_interval(seeds, LABELS)
    assert (t.center, t.error) == pytest.approx((0.8, 0.1 / np.sqrt(3)), rel=1e-3)
    assert t.df == pytest.approx(2, rel=1e-3)


def test_perfect_ranks_have_a_width() -> None:
    perfect = auroc_draws(LABELS[:, None].astype(float), LABELS)
    assert set(perfect) == {1.0}
    t = auroc_interval(np.array([perfect] * 2), LABELS)
    assert t.error == pytest.approx(np.sqrt(2) / 60)
    three = np.arange(60) % 3
    t = auroc_interval(np.ones((2, 9)), three)
    assert t.error == pytest.approx(np.sqrt(3) / 20 / 3)


@pytest.mark.integration
@pytest.mark.parametrize(("spread", "least"), [(0.0, 0.92), (0.4, 0.90)])
def test_known_truth(spread: float, least: float) -> None:
    """Coverage of the true AUROC, and false verdicts on equal networks, in 400 studies.

    Classes are so far apart in deviations that AUROC is 0.95, on seeds that may differ in this.
    """
    rng = np.random.default_rng(2)
    gap = np.sqrt(2 + spread**2) * 1.6449
    covered, differs = [], []
    for _ in range(400):
        hard = rng.normal(size=(len(LABELS), 1))
        networks = np.sqrt(0.8) * hard + np.sqrt(0.2) * rng.normal(size=(6, len(LABELS), 1))
        networks += rng.normal(gap, spread, size=(6, 1, 1)) * LABELS[:, None]
        a, b = np.array([auroc_draws(x, LABELS) for x in networks]).reshape(2, 3, -1)
        low, high = unit_ends(auroc_interval(a, LABELS))
        covered.append(low <= 0.95 <= high)
        differs.append(auroc_interval(a - b, LABELS).p_value() < 0.05)
    assert np.mean(covered) >= least
    assert np.mean(differs) <= 0.07


@pytest.mark.parametrize("groups", [None, np.arange(21), np.array([*range(10), *range(10), 10])])
def test_one_image_of_a_class_tells_nothing_of_others(groups: np.ndarray | None) -> None:
    labels = np.repeat([0, 1], [20, 1])
    logits = np.array([*range(19), 20.0, 19.0])[:, None]  # It is above 19 of 20.
    draws = np.array([auroc_draws(logits, labels, groups)] * 3)
    t = auroc_interval(draws, labels, groups)
    assert t.center == pytest.approx(0.95)
    low, high = t.ends()
    assert low < 0
    assert high > 1
    assert auroc_interval(draws - draws / 2, labels, groups).p_value() > 0.5


def test_one_image_of_one_of_many_classes_leaves_open_what_it_counts() -> None:
    labels = np.array([*np.arange(400) % 9, 9])
    logits = np.random.default_rng(0).normal(size=(401, 10)) + 3 * np.eye(10)[labels]
    t = auroc_interval(np.array([auroc_draws(logits, labels)] * 3), labels)
    assert 0.1 <= t.error < 0.11
    assert t.df == pytest.approx(2, abs=0.1), "those of the seeds are the least"


@pytest.mark.integration
@pytest.mark.parametrize("gap", [0.6745, 1.6449], ids=["0.75", "0.95"])
@pytest.mark.parametrize(("few", "least"), [(1, 0.99), (2, 0.92), (5, 0.92), (60, 0.92)])
def test_known_truth_with_few_images_of_a_class(few: int, least: float, gap: float) -> None:
    """Coverage of a true AUROC of 0.75 or 0.95, in 200 studies of three seeds."""
    rng, labels = np.random.default_rng(3), np.repeat([0, 1], [60, few])
    covered, truth = [], stats.norm.cdf(gap)
    for _ in range(200):
        hard = rng.normal(size=(len(labels), 1))
        networks = np.sqrt(0.8) * hard + np.sqrt(0.2) * rng.normal(size=(3, len(labels), 1))
        networks += gap * np.sqrt(2) * labels[:, None]
        draws = np.array([auroc_draws(x, labels) for x in networks])
        t = auroc_interval(draws, labels)
        low, high = unit_ends(t)
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= least


def test_width_is_not_below_that_of_the_seeds_alone() -> None:
    rng = np.random.default_rng(1)
    for gaps in ((0.5, 0.8), (1.0, 1.5, 2.0), (1.4, 1.5, 1.6)):
        draws = np.array([auroc_draws(logits_of(rng, LABELS, gap), LABELS) for gap in gaps])
        half = half_of_seeds(draws[:, 0])
        assert auroc_interval(draws, LABELS).half_width() >= half - 1e-9
