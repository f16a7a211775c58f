import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from study.records import Status
from study.settings import Settings
from study.suggest import SAMPLERS, Suggestions
from tests.study.builders import make_settings
from tl_core.config import TrialConfig

RATIOS = ["0.1", "0.2", "0.4"]


@pytest.fixture
def storage() -> BaseStorage:
    return InMemoryStorage()


def settings(**given: Any) -> Settings:
    plain = {"data": "photos", "name": "mine", "train_ratio": RATIOS, "trials": 30}
    return make_settings(**(plain | given))


def value_of(config: TrialConfig) -> float:
    """Made up: best near a learning rate of 0.003, a little better with more labels."""
    return abs(config.lr - 3e-3) + 0.1 - 0.1 * config.train_ratio


def run(suggestions: Suggestions, n: int) -> list[TrialConfig]:
    configs = []
    for _ in range(n):
        number, config = suggestions.ask()
        suggestions.tell(number, "done", config.epochs, value_of(config))
        configs.append(config)
    return configs


def cell(config: TrialConfig) -> tuple[str, float]:
    return config.mode, config.train_ratio


def test_joint_search_tries_every_cell_first(storage: BaseStorage) -> None:
    configs = run(Suggestions(settings(), storage), 8)
    cells = set(itertools.product(("freeze", "finetune"), (0.1, 0.2, 0.4)))
    assert {cell(config) for config in configs[:6]} == cells
    assert {config.seeds for config in configs if config.mode == "freeze"} == {8}


def test_cells_share_the_trials_evenly(storage: BaseStorage) -> None:
    configs = run(Suggestions(settings(design="cells"), storage), 15)
    counts = Counter(cell(config) for config in configs)
    assert len(counts) == 6
    assert set(counts.values()) == {2, 3}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_searches(name: str, storage: BaseStorage) -> None:
    configs = run(Suggestions(settings(sampler=name), storage), 10)
    assert len({config.lr for config in configs}) == 10


@pytest.mark.parametrize("design", ["joint", "cells"])
@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_a_search_that_goes_on_draws_what_it_would_have_drawn(
    name: str, design: str, tmp_path: Path
) -> None:
    def storage(file: str) -> BaseStorage:
        return JournalStorage(JournalFileBackend(str(tmp_path / file)))

    given = settings(sampler=name, design=design)
    whole = run(Suggestions(given, storage("whole")), 30)
    parts = [run(Suggestions(given, storage("parts")), n) for n in (13, 17)]
    assert parts[0] + parts[1] == whole


def test_configuration_that_was_drawn_before_gets_new_seeds(storage: BaseStorage) -> None:
    given = settings(
        mode=["freeze"], train_ratio=["0.1"], lr=["0.01"], aux_weight=["0", "1", "0.5"]
    )
    configs = run(Suggestions(given, storage), 9)
    seeds: dict[float, list[int]] = {}
    for config in configs:
        seeds.setdefault(float(config.aux_weight), []).append(config.seed)
    assert sum(map(len, seeds.values())) == 9
    for drawn in seeds.values():
        assert drawn == [8 * i for i in range(len(drawn))]


@pytest.mark.parametrize(
    ("status", "state"),
    [("done", TrialState.COMPLETE), ("pruned", TrialState.PRUNED), ("failed", TrialState.FAIL)],
)
def test_optuna_hears_how_a_trial_ended(
    storage: BaseStorage, status: Status, state: TrialState
) -> None:
    suggestions = Suggestions(settings(), storage)
    number, _ = suggestions.ask()
    suggestions.tell(number, status, 3, None if status == "failed" else 0.5)
    trial = optuna.load_study(study_name="mine", storage=storage).trials[0]
    assert trial.state == state
    assert trial.values == (None if status == "failed" else [0.5])
    assert trial.intermediate_values == ({3: 0.5} if status == "pruned" else {})


def test_pareto_search_weighs_score_against_labels(storage: BaseStorage) -> None:
    suggestions = Suggestions(settings(objective="pareto"), storage)
    run(suggestions, 12)
    number, _ = suggestions.ask()
    suggestions.tell(number, "pruned", 1, 0.9)
    study = optuna.load_study(study_name="mine", storage=storage)
    assert [way.name for way in study.directions] == ["MINIMIZE", "MINIMIZE"]
    for trial in study.trials[:12]:
        assert trial.values[1] == trial.params["train_ratio"]
    assert study.trials[12].state == TrialState.COMPLETE
    assert {t.params["train_ratio"] for t in study.best_trials} >= {0.1}


def test_tpe_comes_closer_than_chance(storage: BaseStorage) -> None:
    given = {"mode": ["freeze"], "train_ratio": ["0.1"], "aux_weight": ["0"], "lr": ["1e-5", "1"]}
    tpe = run(Suggestions(settings(**given), storage), 40)
    drawn = run(Suggestions(settings(**given, sampler="random", name="other"), storage), 40)
    off = [sum(abs(math.log(c.lr / 3e-3)) for c in configs[20:]) for configs in (tpe, drawn)]
    assert off[0] < off[1] / 2


def test_names_of_searches_tell_their_cells(storage: BaseStorage) -> None:
    Suggestions(settings(design="cells", train_ratio=["0.1", "0.4"]), storage)
    names = optuna.get_all_study_names(storage)
    assert json.dumps(sorted(names)) == json.dumps(
        ["mine/finetune/0.1", "mine/finetune/0.4", "mine/freeze/0.1", "mine/freeze/0.4"]
    )


def test_neighbouring_seeds_draw_other_trials(storage: BaseStorage) -> None:
    given = {"sampler": "random", "mode": ["freeze"]}
    one = run(Suggestions(settings(**given, seed="0", name="a"), storage), 9)
    two = run(Suggestions(settings(**given, seed="1", name="b"), storage), 9)
    assert not {c.lr for c in one} & {c.lr for c in two}


def test_trials_of_a_run_that_was_killed_are_told_as_failed(storage: BaseStorage) -> None:
    Suggestions(settings(), storage).ask()
    later = Suggestions(settings(), storage)
    assert later.drawn == 1
    states = [t.state for t in optuna.load_study(study_name="mine", storage=storage).trials]
    assert states.count(TrialState.FAIL) == 1
    assert TrialState.RUNNING not in states
