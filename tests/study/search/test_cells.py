"""Which cells get trials, how many, and in which order."""

from collections import Counter
from typing import Any

import pytest

from study.config.settings import Settings
from study.search.cells import Cell, nearest, shares, turns
from tests.support.studies.builders import make_config, make_settings


def settings(trials: int, mode: list[str], ratios: list[str] | None = None) -> Settings:
    given: dict[str, Any] = {"mode": mode, "train_ratio": ratios or ["0.1", "0.4"]}
    # A study of probes alone with more trials is refused, and yet must not go on for ever.
    return make_settings(data="photos", **given).model_copy(update={"trials": trials})


@pytest.mark.parametrize(("trials", "mode", "expected"), [
    (8, ["finetune", "lp_ft"], [2, 2, 2, 2]),
    (11, ["finetune", "lp_ft"], [3, 3, 3, 2]),
    (10, ["probe", "finetune"], [1, 1, 4, 4]),
    (11, ["finetune", "probe"], [1, 1, 5, 4]),
    (4, ["freeze", "finetune"], [1, 1, 1, 1]),
    (14, ["freeze", "finetune"], [4, 3, 4, 3]),
    (2, ["probe"], [1, 1]),
])  # fmt: skip
def test_cells_share_the_trials_evenly(trials: int, mode: list[str], expected: list[int]) -> None:
    given = settings(trials, mode)
    assert [*shares(given).values()] == expected
    assert Counter(turns(given)) == shares(given)
    assert sum(expected) == trials


def test_frozen_cells_come_first_then_networks_from_the_largest_ratio() -> None:
    given = settings(17, ["finetune", "probe", "lp_ft", "freeze"])
    few, many = [("finetune", 0.1), ("lp_ft", 0.1)], [("finetune", 0.4), ("lp_ft", 0.4)]
    # 15 trials for six cells: two each, and one more for each mode at 0.4.
    assert turns(given) == [
        ("probe", 0.4), ("probe", 0.1), *[("freeze", 0.4)] * 3, *[("freeze", 0.1)] * 2,
        *many, *many, *many, *few, *few,
    ]  # fmt: skip


def test_nearest_is_by_log_ratio_and_within_the_mode() -> None:
    cells = [Cell("freeze", x) for x in (0.01, 0.1, 0.8)] + [Cell("finetune", 0.05)]
    assert [c.train_ratio for c in nearest(Cell("freeze", 0.05), cells)] == [0.1, 0.01, 0.8]
    assert Cell.of(make_config(train_ratio=0.05)) == ("freeze", 0.05)
