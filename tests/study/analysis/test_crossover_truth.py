"""Crossovers and labels saved in simulated studies whose truth is known, and what they were before.

Earlier versions drew seeds by a percentile bootstrap, and looked at intervals over seeds alone.
"""

import itertools

import numpy as np
import pytest
from scipy import stats

from study.analysis.comparisons import Difference
from study.analysis.crossing import last_crossing
from study.analysis.label_efficiency import Crossover, crossovers, labels_saved
from study.intervals.two_way import DIFFERENCE_PSEUDO, Floats, mean_squares, two_way, with_pseudo
from tests.support.studies.image_tables import seen_in_study
from tests.support.studies.simulated_hits import Photos
from tl_core.config import Mode

pytestmark = pytest.mark.integration

RATIOS = np.array([0.01, 0.03, 0.1, 0.3, 0.8])
X = np.log(RATIOS)
LEADS = {
    # The lead at each ratio, and where it is zero.
    "a line": (0.08 * np.log10(RATIOS / 0.1), np.log(0.1)),
    "a flat line": (0.04 * np.log10(RATIOS / 0.2), np.log(0.2)),
    "a curve": (0.02 - 0.10 * (RATIOS / 0.01) ** -0.6, np.log(0.01 * 5 ** (1 / 0.6))),
}
WORLDS = [
    Photos(seeds, images, shared, own=0.05)
    for seeds, images, shared in itertools.product((3, 5), (60, 240), (0.5, 0.9))
]


TO_PRINT = [
    Photos(seeds, images, shared, own=0.05)
    for seeds, images, shared in itertools.product((3, 5), (240, 1000), (0.5, 0.9))
]
TWO: tuple[Mode, Mode] = ("finetune", "freeze")
DRAWN = 120
"""Studies in each of `TO_PRINT`."""


def two_modes(lead: Floats) -> Floats:
    """True accuracies of two modes, of which the first has this lead."""
    return np.array([0.88 + lead / 2, 0.88 - lead / 2])


def power_laws(*errors: tuple[float, float]) -> Floats:
    """True accuracies of modes whose errors are a + b n^-0.5, given a and b n^-0.5 at 0.8."""
    return np.array([1 - a - b * (RATIOS / 0.8) ** -0.5 for a, b in errors])


def crossovers_of(accuracies: Floats) -> list[Crossover]:
    """The crossover of each of many studies of two modes."""
    return [
        crossover
        for photos in TO_PRINT
        for hits in photos.hits(np.random.default_rng(1), DRAWN, accuracies)
        for crossover in crossovers(seen_in_study(hits, TWO, RATIOS.tolist()))
    ]


def percentile_bootstrap(gains: Floats, x: Floats) -> tuple[float, float]:
    """The crossover's interval of earlier versions, from the leads of each seed, [S, R]."""
    n = len(gains)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 1000)
    means = (drawn @ gains / n).round(12)
    if gains.mean(axis=0)[-1] < 0:
        means = -means
    at = []
    for mean in means:
        behind = np.flatnonzero(mean < 0)
        if not len(behind):
            at.append(-np.inf)
        elif behind[-1] == len(x) - 1:
            at.append(np.inf)
        else:
            i = behind[-1]
            at.append(x[i] - mean[i] / (mean[i + 1] - mean[i]) * (x[i + 1] - x[i]))
    low, high = np.quantile(at, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


@pytest.mark.parametrize("shape", LEADS)
def test_intervals_and_open_ones_cover_where_one_mode_overtakes_another(shape: str) -> None:
    lead, truth = LEADS[shape]
    covered = []
    for photos in WORLDS:
        hits = photos.hits(np.random.default_rng(0), 200, two_modes(lead))
        covers = []
        for table in with_pseudo(hits[:, 0] - hits[:, 1], DIFFERENCE_PSEUDO):
            found = last_crossing(mean_squares(table), X)
            if found.at is not None:
                bounded = found.low is not None and found.high is not None
                inside = (found.low or -9) <= truth <= (found.high or 0)
                covers.append(inside and (found.rises or not bounded))
        covered.append(np.mean(covers))
    assert min(covered) >= 0.90


@pytest.mark.parametrize(("accuracies", "truth", "least", "most"), [
    (two_modes(LEADS["a line"][0]), 0.1, 0.94, 1.0),
    (two_modes(LEADS["a flat line"][0]), 0.2, 0.85, 1.0),
    (two_modes(LEADS["a curve"][0]), 0.01 * 5 ** (1 / 0.6), 0.65, 0.9),
    # The curves meet at an error of 0.075, near the largest ratio.
    (power_laws((0.0, 0.06), (0.05, 0.02)), 0.8 * 1.25**-2, 0.25, 0.6),
], ids=[*LEADS, "near the end"])  # fmt: skip
def test_intervals_that_are_told_in_sentences(
    accuracies: Floats, truth: float, least: float, most: float
) -> None:
    """They cover less than all do where few studies show any, but few studies tell a wrong one."""
    found = crossovers_of(accuracies)
    told = [c for c in found if c.status == "seen"]
    right = [c.after == "finetune" and c.low <= truth <= c.high for c in told if c.low and c.high]
    assert least <= np.mean(right) <= most
    assert right.count(False) <= 0.04 * len(found)


def test_no_mode_is_seen_to_overtake_where_none_does() -> None:
    """The curves meet beyond all ratios. Fieller's interval alone, of a line, would lie within."""
    found = crossovers_of(power_laws((0.0, 0.08), (0.05, 0.02)))
    bounded = [c for c in found if c.low is not None and c.high is not None]
    assert len(bounded) > 0.1 * len(found)
    assert sum(c.status == "seen" for c in found) <= 0.005 * len(found)


def test_the_bootstrap_of_seeds_would_not_cover_it() -> None:
    """The control, in the same worlds."""
    lead, truth = LEADS["a flat line"]
    covered = []
    for photos in WORLDS:
        hits = photos.hits(np.random.default_rng(0), 40, two_modes(lead))
        gains = (hits[:, 0] - hits[:, 1]).mean(axis=-1).swapaxes(1, 2)
        ends = [percentile_bootstrap(g, X) for g in gains]
        covered.append(np.mean([low <= truth <= high for low, high in ends]))
    assert min(covered) < 0.7
    assert np.mean(covered) < 0.85


def test_what_a_study_says_of_modes_that_cross_and_that_do_not() -> None:
    chance, photos = np.random.default_rng(0), Photos(5, 240, 0.8, own=0.05)
    for lead, said, never in (
        (0.10 * np.log10(RATIOS / 0.1), "seen", "none seen"),
        (np.full(5, 0.08), "none seen", "seen"),
        (np.zeros(5), "not resolved", "seen"),
    ):
        studies = photos.hits(chance, 50, two_modes(lead))
        trials = (seen_in_study(hits, TWO, RATIOS.tolist()) for hits in studies)
        found = [c for each in trials for c in crossovers(each)]
        statuses = [str(c.status) for c in found]
        assert statuses.count(said) >= 0.9 * len(statuses)
        assert statuses.count(never) <= 0.02 * len(statuses)
        assert {c.after for c in found if c.status == said != "not resolved"} <= {"finetune"}


def test_a_mode_that_is_worse_by_the_margin_seldom_matches() -> None:
    wrong, before = [], []
    for photos in WORLDS:
        margin = {60: 0.02, 240: 0.01}[photos.images]
        for accuracy in (0.90, 0.97):
            truth = np.array([[accuracy - margin], [accuracy]])
            hits = photos.hits(np.random.default_rng(0), 1000, truth)[:, :, 0]
            table = hits[:, 0] - hits[:, 1]
            p = two_way(table, DIFFERENCE_PSEUDO).p_not_above(-margin)
            wrong.append(np.mean(p <= 0.025))
            means = table.mean(axis=-1)
            n = photos.seeds
            half = stats.t.ppf(0.975, n - 1) * means.std(axis=-1, ddof=1) / np.sqrt(n)
            before.append(np.mean(means.mean(axis=-1) - half >= -margin))
    assert max(wrong) <= 0.035
    assert max(before) > 0.07


def test_few_studies_have_any_false_match() -> None:
    """Three modes at two ratios, all worse than the goal by the margin."""
    photos, chance = Photos(5, 240, 0.9, own=0.02), np.random.default_rng(0)
    modes: tuple[Mode, ...] = ("freeze", "probe", "finetune", "scratch")
    truth = np.array([[0.94, 0.94]] * 3 + [[0.94, 0.95]])
    wrong = []
    for hits in photos.hits(chance, 100, truth):
        saved = labels_saved(seen_in_study(hits, modes, (0.1, 0.8)))
        matches: list[Difference] = [s.match for s in saved if s.match and s.b == "scratch"]
        wrong.append(bool(matches))
    assert np.mean(wrong) <= 0.035
