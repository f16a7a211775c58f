"""Simulated studies of equal modes: none is called better, and each wins as often as the other.

The modes are equal on the test images, which is what the intervals of a study are about.
"""

from collections import Counter

import pytest

from study.search.cells import Cell
from tests.support.studies.simulated import SimulatedStudy, World, simulate
from tl_core.config import Mode

pytestmark = pytest.mark.integration

NOISE: dict[Mode, float] = {"freeze": 0.1, "finetune": 0.15}
"""A frozen trial of the search takes the mean of eight seeds, too."""
OWN_BEST = World({"freeze": 0.65, "finetune": 0.4}, NOISE)
"""Modes with equal optima, each at a learning rate of its own."""
IDENTICAL = World({"freeze": 0.5, "finetune": 0.5}, NOISE)
"""Modes with the same curve, of which one is noisier."""
CELL = Cell("finetune", 0.3)
TASK_WANTS_MORE = World(
    {"finetune": 0.7}, {"finetune": 0.15}, ratios=(0.3,), without={"finetune": 0.4}
)
"""A mode whose best learning rate is eight times as high with the auxiliary task."""


@pytest.fixture(scope="module")
def equal() -> list[SimulatedStudy]:
    return simulate(OWN_BEST, 250)


@pytest.fixture(scope="module")
def identical() -> list[SimulatedStudy]:
    return simulate(IDENTICAL, 300)


def wrong_verdicts(studies: list[SimulatedStudy]) -> dict[float, float]:
    """The share of studies that call one of two equal modes better, by ratio."""
    found = Counter(
        d.a.train_ratio for s in studies for d in s.differences if d.verdict != "cannot tell"
    )
    return {ratio: found[ratio] / len(studies) for ratio in OWN_BEST.ratios}


def test_equal_modes_are_seldom_called_different(equal: list[SimulatedStudy]) -> None:
    assert {len(s.differences) for s in equal} == {len(OWN_BEST.ratios)}
    assert max(wrong_verdicts(equal).values()) <= 0.10


def test_every_cell_is_tuned_to_near_its_optimum(equal: list[SimulatedStudy]) -> None:
    """A draw at random has 2.1 times the least log loss, or more, on average."""
    for mode in OWN_BEST.best:
        for ratio in OWN_BEST.ratios:
            regrets = [s.regret(Cell(mode, ratio)) for s in equal]
            assert sum(regrets) / len(regrets) < 0.08


def test_of_identical_modes_each_wins_as_often(identical: list[SimulatedStudy]) -> None:
    wins = Counter(s.winner for s in identical)
    for mode in IDENTICAL.best:
        assert wins[mode] / len(identical) == pytest.approx(0.5, abs=0.1)


def test_the_best_single_score_would_prefer_the_noisier_mode(
    identical: list[SimulatedStudy],
) -> None:
    """The control: by the rule of version 0.1 the same studies fail."""
    wins = Counter(s.winner_by_minimum for s in identical)
    assert wins["finetune"] / len(identical) > 0.7


def test_a_control_is_tuned_where_the_task_asks_for_another_learning_rate() -> None:
    """At the rates of the best configurations with the task it would be at twice the regret."""
    world, regrets = TASK_WANTS_MORE, []
    for seed in range(100):
        study = SimulatedStudy(world, world.settings(aux_weight=["0.5"]), seed)
        chosen = study.choices.chosen[CELL].config.model_copy(update={"aux_weight": 0.0})
        control = next(r.config for r in study.records if r.kind == "control")
        losses = [world.log_loss(config) for config in (chosen, control)]
        regrets.append([loss / world.least(CELL.train_ratio) - 1 for loss in losses])
    same, own = (sum(each) / len(regrets) for each in zip(*regrets, strict=True))
    assert own < 0.15
    assert same > 1.6 * own
