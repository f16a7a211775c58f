import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from study.analysis.estimates import Confirmed
from study.analysis.label_efficiency import (
    Crossover,
    LabelsSaved,
    crossovers,
    labels_saved,
    least_margin,
    pareto_front,
)
from study.search.cells import Cell
from tests.support.studies.builders import make_confirmed, make_record
from tests.support.studies.image_tables import seen
from tests.support.studies.simulated_hits import Photos
from tl_core.config import Mode

RATIOS = (0.1, 0.2, 0.4)
GRID = st.integers(-20, 20).map(lambda n: n / 100)
gains = st.lists(st.tuples(GRID, GRID, GRID), min_size=1, max_size=4)


def curve(mode: Mode, ratios: tuple[float, ...], *seeds: tuple[float, ...]) -> list[Confirmed]:
    """A mode's accuracies: a row a seed, a column a ratio."""
    columns = zip(ratios, *seeds, strict=True)
    return [c for ratio, *column in columns for c in make_confirmed(mode, ratio, column)]


def versus(ratios: tuple[float, ...], *seeds: tuple[float, ...]) -> list[Confirmed]:
    """Freezing, that far ahead of fine-tuning, which is at 0.5 throughout."""
    flat = [(0.5,) * len(ratios)] * len(seeds)
    ahead = [tuple(0.5 + gain for gain in row) for row in seeds]
    return curve("freeze", ratios, *ahead) + curve("finetune", ratios, *flat)


def only(trials: list[Confirmed]) -> Crossover:
    (found,) = crossovers(trials)
    return found


def saved(trials: list[Confirmed], a: Mode, b: Mode, margin: float = 0.01) -> LabelsSaved:
    return next(s for s in labels_saved(trials, margin=margin) if (s.a, s.b) == (a, b))


@pytest.mark.parametrize(("first", "last", "ratio"), [
    (0.02, -0.02, 0.2), (0.03, -0.01, 0.1 * 4**0.75), (0.02, -0.06, 0.1 * 4**0.25),
])  # fmt: skip
def test_crossover_by_hand(first: float, last: float, ratio: float) -> None:
    found = only(versus((0.1, 0.4), *[(first, last)] * 3))
    assert (found.before, found.after, found.status) == ("freeze", "finetune", "seen")
    assert (found.ratio, found.low, found.high) == pytest.approx((ratio,) * 3)
    found = only(versus((0.1, 0.2, 0.4, 0.8), *[(-0.2, 0.2, -0.2, 0.2)] * 3))
    assert (found.before, found.after) == ("finetune", "freeze")
    assert found.ratio == pytest.approx(0.4 * math.sqrt(2)), "the last change counts"


@pytest.mark.parametrize("rows", [[(0.1, 0.1)] * 3, [(0.1, 0.0)] * 3, [(-0.1, 0.1), (0.3, 0.1)]])
def test_mode_that_leads_throughout_never_overtakes(rows: list[tuple[float, ...]]) -> None:
    none = Crossover("finetune", "freeze", "none seen", None, None, None)
    assert only(versus((0.1, 0.4), *rows)) == none


@pytest.mark.parametrize(("rows", "ends"), [
    ([(0.3, -0.3), (-0.1, 0.1)], (0.2, None, None)),
    # At a share u of the way, finetune leads by 0.4 u - 0.1; the seeds are 0.4 (1 - u) apart, half
    # of which is the standard error, and t is 12.7062: its lower limit is zero at u = 0.898002.
    ([(0.3, -0.3), (-0.1, -0.3)], (0.1 * 4**0.25, None, 0.1 * 4**0.898002)),
    ([(0.1, -0.1)], (0.2, None, None)),
    *((rows, (None, None, None)) for rows in (
        [(0.0, 0.0)] * 3, [(0.3, 0.3), (-0.1, -0.1)], [(0.1, 0.1)])),
])  # fmt: skip
def test_what_is_not_resolved(rows: list[tuple[float, ...]], ends: tuple[float | None]) -> None:
    found = only(versus((0.1, 0.4), *rows))
    assert found.status == "not resolved"
    assert [found.ratio, found.low, found.high] == [e and pytest.approx(e) for e in ends]


@pytest.mark.parametrize(("noise", "status"), [(0.025, "not resolved"), (0.01, "seen")])
@pytest.mark.parametrize(("sign", "turned"), [*product((1, -1), (False, True))])
def test_a_crossover_is_seen_only_where_both_modes_are_shown_to_lead(
    noise: float, status: str, sign: int, turned: bool
) -> None:
    """Leads on a line, of which only one at an end varies: it has 0.7 of the line's weight there.

    At a noise of 0.025 it is not different from zero (t = 3.5, where 4.3 is needed), but the line
    is (t = 5).
    """
    leads = [(0.25, 0.15, 0.05, -0.05 + x) for x in (-noise, 0.0, noise)]
    rows = [tuple(sign * lead for lead in (row[::-1] if turned else row)) for row in leads]
    found = only(versus((0.1, 0.2, 0.4, 0.8), *rows))
    assert found.before == ("freeze" if (sign > 0) != turned else "finetune")
    assert None not in (found.low, found.high)
    assert found.status == status


def test_no_crossover_without_two_common_ratios_and_a_common_seed() -> None:
    assert crossovers(versus((0.1,), (0.1,))) == []
    assert crossovers(curve("freeze", (0.1, 0.4), (0.5, 0.5))) == []
    trials = versus((0.1, 0.4), (0.1, 0.1))
    trials[-1] = replace(trials[-1], seed=1)
    assert crossovers(trials) == []
    trials = versus((0.1, 0.4), (0.1, -0.1), (0.1, -0.1), (0.3, -0.1))
    trials.remove(next(c for c in trials if c.seed == 2 and c.train_ratio == 0.4))
    assert only(trials).ratio == pytest.approx(0.2), "the seed is left out everywhere"


@given(gains)
def test_crossover_lies_between_the_ratios_and_in_its_interval(
    rows: list[tuple[float, float, float]],
) -> None:
    found = only(versus(RATIOS, *rows))
    if found.ratio is None:
        assert found.low is found.high is None
        return
    tolerance = 1e-9
    assert 0.1 - tolerance <= (found.low or 0.1) <= found.ratio + tolerance
    assert found.ratio <= (found.high or 0.4) + tolerance <= 0.4 + 2 * tolerance
    assert found.status != "seen" or None not in (found.low, found.high)


@given(gains)
def test_swapped_modes_cross_at_the_same_ratio(rows: list[tuple[float, float, float]]) -> None:
    assume(abs(np.mean(rows, axis=0)).min() > 1e-6)  # Ties have no side.
    found = only(versus(RATIOS, *rows))
    swapped = only(versus(RATIOS, *[tuple(-gain for gain in row) for row in rows]))
    after = (swapped.before, swapped.after, swapped.status)
    assert after == (found.after, found.before, found.status)
    assert swapped.ratio == pytest.approx(found.ratio)


def test_labels_saved_by_hand() -> None:
    trials = curve("freeze", RATIOS, *[(0.5, 0.9, 0.95)] * 2)
    trials += curve("scratch", RATIOS, *[(0.5, 0.6, 0.9)] * 2)
    found = saved(trials, "freeze", "scratch")
    assert (found.ratio, found.ratio_b, found.margin) == (0.2, 0.4, 0.01)
    assert found.match is not None
    assert (found.match.a, found.match.b) == (Cell("freeze", 0.2), Cell("scratch", 0.4))
    assert found.match.estimate.mean == 0
    assert saved(trials, "scratch", "freeze").match is None
    assert saved(trials, "freeze", "freeze").match is None
    assert saved(trials, "freeze", "freeze", margin=0.051).ratio == 0.2
    assert len(labels_saved(trials)) == 4
    # A lucky small ratio below one that fails is no match.
    trials = curve("freeze", RATIOS, *[(0.9, 0.5, 0.9)] * 2)
    trials += curve("scratch", RATIOS, *[(0.8, 0.8, 0.8)] * 2)
    assert saved(trials, "freeze", "scratch").ratio == 0.4


@pytest.mark.parametrize(("ratio", "freeze", "scratch"), [
    (0.1, (0.8, 0.9), (0.9, 0.8)), (0.1, (0.9,), (0.8,)), (0.8, (0.9, 0.9), (0.5, 0.5)),
], ids=["wide interval", "one seed", "more labels than the other has"])  # fmt: skip
def test_no_match(ratio: float, freeze: tuple[float, ...], scratch: tuple[float, ...]) -> None:
    trials = make_confirmed("freeze", ratio, freeze) + make_confirmed("scratch", 0.4, scratch)
    assert saved(trials, "freeze", "scratch").match is None


def test_none_is_seen_only_where_someone_leads() -> None:
    """A lead that is not shown at any ratio is none, and neither are leads on both sides."""
    ahead = versus((0.1, 0.4), (0.02, 0.02), (0.02, 0.021), (0.02, 0.019))
    assert only(ahead).status == "none seen"
    unclear = versus((0.1, 0.4), (0.02, 0.02), (-0.01, 0.05), (0.01, -0.04))
    assert (only(unclear).status, only(unclear).ratio) == ("not resolved", None)


def test_interval_of_a_crossover_covers_new_photos() -> None:
    """Seeds that are right on the same images have an interval of no width on those."""
    chance = np.random.default_rng(0)
    hits = Photos(1, 240, 0.8, 0.05).hits(chance, 1, np.array([[0.9, 0.9], [0.75, 0.95]]))[0]
    hits = hits.repeat(3, axis=2)
    trials = [
        trial
        for mode, curve in zip(("freeze", "finetune"), hits, strict=True)
        for ratio, cell in zip((0.1, 0.4), curve, strict=True)
        for trial in seen(mode, ratio, cell)  # type: ignore[arg-type]
    ]
    new, seeds = only(trials), only([replace(c, images=None) for c in trials])
    assert (new.before, new.after) == ("freeze", "finetune")
    assert new.ratio == pytest.approx(seeds.ratio)
    assert seeds.low == pytest.approx(seeds.high) == pytest.approx(seeds.ratio)
    assert new.status == "seen"
    assert (new.low or 0) * 1.1 < (new.ratio or 0) < (new.high or 0) / 1.1


def test_modes_that_are_compared_with_one_goal_share_the_level() -> None:
    """p of being worse by 0.01 is 0.0180: enough for one mode, too much for two."""

    # 0.02 above the margin on average: t = 0.02 / (0.00675 / sqrt 3) = 5.132, and with 2 degrees of
    # freedom p = (1 - t / sqrt(t^2 + 2)) / 2.
    def behind(mode: Mode) -> list[Confirmed]:
        return make_confirmed(mode, 0.1, (0.90325, 0.91, 0.91675))

    goal = make_confirmed("scratch", 0.4, (0.9, 0.9, 0.9))
    one = saved([*behind("freeze"), *goal], "freeze", "scratch")
    assert one.ratio == 0.1
    assert one.match is not None
    assert one.match.p_worse_by(0.01) == pytest.approx(0.01797, abs=1e-5)
    two = [*behind("freeze"), *behind("finetune"), *goal]
    for mode in ("freeze", "finetune"):
        assert saved(two, mode, "scratch").ratio is None


def test_margin_is_not_less_than_one_test_image() -> None:
    hits = np.random.default_rng(0).random((2, 60)) < 0.9
    trials = [*seen("freeze", 0.1, hits), *seen("freeze", 0.4, hits)]
    assert least_margin(trials) == labels_saved(trials)[0].margin == 0.02
    assert least_margin(versus((0.1,), (0.1,))) == 0.01
    assert least_margin(seen("freeze", 0.1, np.ones((2, 240)))) == 0.01
    assert least_margin(seen("freeze", 0.1, np.ones((2, 100)))) == 0.01
    rare = seen("freeze", 0.1, np.ones((2, 240)), labels=np.repeat([0, 1], [220, 20]))
    scores = ("test_accuracy", "test_balanced_accuracy", "test_macro_f1", "test_auroc")
    assert [least_margin(rare, score) for score in scores] == [0.01, 0.03, 0.03, 0.01]


@given(gains, st.floats(0, 0.2), st.floats(0, 0.2))
def test_wider_margin(rows: list[tuple[float, float, float]], one: float, other: float) -> None:
    """It never needs more labels."""
    trials, margins = versus(RATIOS, *rows), sorted((one, other))
    strict, lenient = (saved(trials, "freeze", "finetune", m).ratio or math.inf for m in margins)
    assert lenient <= strict


def test_pareto_front_is_what_no_trial_beats_with_as_few_labels() -> None:
    values = [(0.1, 0.5), (0.1, 0.4), (0.2, 0.4), (0.4, 0.3), (0.8, 0.35)]
    records = [make_record(i, "done", (y,), train_ratio=x) for i, (x, y) in enumerate(values)]
    records.append(make_record(5, "pruned", (0.1,), train_ratio=0.1))
    assert [r.trial for r in pareto_front(records, "val_log_loss")] == [1, 3]
    assert [r.trial for r in pareto_front(records, "val_accuracy")] == [0]
