"""What is drawn: the space of trials, and the search in it."""

import itertools
import math
from collections import Counter
from typing import Any

import optuna
import pytest
from hypothesis import given as drawn_from
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from study.config.settings import Settings
from study.records.trial_record import Status, TrialRecord
from study.search.sampler import SAMPLERS, Suggestions
from study.search.space import LR_RANGES, Space, single_config
from tests.support.studies.builders import make_epoch, make_settings
from tl_core.config import MODES, Mode, TrialConfig

RATIOS = ["0.1", "0.2", "0.4"]


def settings(**given: Any) -> Settings:
    plain = {"data": "photos", "name": "mine", "train_ratio": RATIOS, "trials": 30}
    return make_settings(**(plain | given))


def value_of(config: TrialConfig) -> float:
    """Made up: best near a learning rate of 0.003, a little better with more labels."""
    return abs(config.lr - 3e-3) + 0.1 - 0.1 * config.train_ratio


def record_of(number: int, config: TrialConfig, status: Status = "done") -> TrialRecord:
    history = [make_epoch(1, val_log_loss=value_of(config))] if status != "failed" else []
    return TrialRecord(number, config, status, history, started_at=0.0, draw=number)


def run(suggestions: Suggestions, n: int) -> list[TrialRecord]:
    """Some of the trials are pruned, some fail."""
    records = []
    for _ in range(n):
        number, config = suggestions.ask()
        statuses: list[Status] = ["done", "done", "pruned", "done", "failed"]
        record = record_of(number, config, statuses[number % 5])
        value = record.value("val_log_loss")
        suggestions.tell(number, record.status, len(record.history), value)
        records.append(record)
    return records


def cell(record: TrialRecord) -> tuple[str, float]:
    return record.config.mode, record.config.train_ratio


def test_joint_search_tries_every_cell_first_and_cells_share_the_trials_evenly() -> None:
    configs = run(Suggestions(settings(objective="pareto")), 30)
    cells = set(itertools.product(("freeze", "finetune"), (0.1, 0.2, 0.4)))
    assert {cell(config) for config in configs[:6]} == cells
    assert {r.config.seeds for r in configs if r.config.mode == "freeze"} == {8}
    assert {r.config.train_ratio for r in configs[6:]} == {0.1, 0.2, 0.4}
    counts = Counter(cell(config) for config in run(Suggestions(settings(design="cells")), 15))
    assert (len(counts), set(counts.values())) == (6, {2, 3})


@pytest.mark.parametrize("design", ["joint", "cells"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_search_that_goes_on_draws_what_it_would_have_drawn(name: str, design: str) -> None:
    given = settings(sampler=name, design=design)
    n = 14 if name == "gp" else 30
    whole = run(Suggestions(given), n)
    assert len({(*cell(r), r.config.lr) for r in whole}) == n
    first = run(Suggestions(given), n // 2)
    assert first + run(Suggestions(given, first), n - n // 2) == whole


@pytest.mark.parametrize("objective", ["score", "pareto"])
def test_a_search_that_was_cut_goes_on_with_the_trial_that_ran(objective: str) -> None:
    given = settings(objective=objective)
    whole = run(Suggestions(given), 12)
    before = run(Suggestions(given), 8)
    cut = record_of(7, before[7].config, "interrupted")
    later = Suggestions(given, [*before[:7], cut])
    assert later.drawn == 8
    value = before[7].value("val_log_loss")
    later.tell(7, before[7].status, len(before[7].history), value)
    assert before + run(later, 4) == whole


@drawn_from(lost=st.sets(st.integers(0, 9)))
@hypothesis_settings(max_examples=20, deadline=None)
def test_what_was_drawn_but_never_started_is_drawn_again(lost: set[int]) -> None:
    given = settings(sampler="random")
    whole = run(Suggestions(given), 12)
    kept = [r for r in whole[:10] if r.draw not in lost]
    later = Suggestions(given, kept)
    assert later.drawn == 10 - len(lost)
    again = run(later, 12 - later.drawn)
    assert sorted(kept + again, key=lambda r: r.trial) == whole


def test_configuration_that_was_drawn_before_gets_new_seeds() -> None:
    given: dict[str, Any] = {"mode": ["freeze"], "train_ratio": ["0.1"], "lr": ["0.01"]}
    seeds: dict[Any, list[int]] = {}
    for r in run(Suggestions(settings(**given, aux_weight=["0", "1", "0.5"])), 9):
        seeds.setdefault(r.config.aux_weight, []).append(r.config.seed)
    assert sum(map(len, seeds.values())) == 9
    for drawn in seeds.values():
        assert drawn == [8 * i for i in range(len(drawn))]


def test_tpe_comes_closer_than_chance_and_neighbouring_seeds_draw_other_trials() -> None:
    given = {"mode": ["freeze"], "train_ratio": ["0.1"], "aux_weight": ["0"], "lr": ["1e-5", "1"]}
    tpe = run(Suggestions(settings(**given)), 40)
    drawn = [run(Suggestions(settings(**given, sampler="random", seed=s)), 40) for s in "01"]
    off = [sum(abs(math.log(r.config.lr / 3e-3)) for r in f[20:]) for f in (tpe, drawn[0])]
    assert off[0] < off[1] / 2
    assert not {r.config.lr for r in drawn[0]} & {r.config.lr for r in drawn[1]}


def draw(space: Space, n: int = 60) -> list[optuna.trial.FrozenTrial]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(n):
        space(trial := study.ask())
        study.tell(trial, 0.0)
    return study.trials


def test_only_the_drawn_mode_has_a_learning_rate_from_its_own_range() -> None:
    trials = draw(Space(make_settings(data="photos", mode=MODES)))
    assert {trial.params["mode"] for trial in trials} == set(MODES)
    for params in (trial.params for trial in trials):
        mode = params["mode"]
        assert set(params) == {"mode", "train_ratio", f"lr_{mode}", "aux_weight"}
        assert LR_RANGES[mode][0] <= params[f"lr_{mode}"] <= LR_RANGES[mode][1]


def test_learning_rate_is_log_uniform_and_weight_uniform() -> None:
    trials = draw(Space(make_settings(mode=["freeze"], lr=["1e-6", "1"], aux_weight=["0", "1"])))
    for name, middle in (("lr_freeze", 1e-3), ("aux_weight", 0.5)):
        below = [trial.params[name] < middle for trial in trials]
        # 60 draws: five standard errors of a share of one half are 0.32.
        assert sum(below) / 60 == pytest.approx(0.5, abs=0.32)
    expected = optuna.distributions.FloatDistribution(1e-6, 1.0, log=True)
    assert trials[0].distributions["lr_freeze"] == expected


@pytest.mark.parametrize(("name", "words"), [
    ("lr", ["0.003"]), ("lr", ["0.1", "0.01", "0.001"]), ("train_ratio", ["0.1", "0.8"]),
    ("aux_weight", ["auto"]), ("aux_weight", ["0", "auto"]), ("aux_weight", ["auto", "0.3", "0"]),
])  # fmt: skip
def test_one_value_is_fixed_and_others_are_choices(name: str, words: list[str]) -> None:
    space = Space(make_settings(**({"mode": ["freeze"]} | {name: words})))
    expected = {word if word == "auto" else float(word) for word in words}
    assert {getattr(space.config(t.params), name) for t in draw(space)} == expected


@pytest.mark.parametrize("mode", MODES)
def test_drawn_parameters_become_the_trial_they_stand_for(mode: Mode) -> None:
    settings = make_settings(
        data="photos", mode=MODES, backbone="vgg11", image_size="64", weights="none",
        epochs="3", batch_size="8", seed="5", split_seed="6", hflip=True, compile=True,
    )  # fmt: skip
    space = Space(settings)
    drawn = {"mode": mode, "train_ratio": 0.05, f"lr_{mode}": 2e-5, "aux_weight": 0.5}
    trial = optuna.trial.FixedTrial(drawn)
    space(trial)  # type: ignore[arg-type]
    assert space.config(trial.params).model_dump() == {
        "mode": mode, "train_ratio": 0.05, "lr": 2e-5, "aux_weight": 0.5,
        "backbone": "vgg11", "weights": "none", "image_size": 64, "epochs": 3, "batch_size": 8,
        "seed": 5, "seeds": 8 if mode == "freeze" else 1, "split_seed": 6, "precision": "fp32",
        "hflip": True, "compile": mode != "freeze",  # Heads on features are not compiled.
    }  # fmt: skip
    config = single_config(make_settings(debug=True, mode=["lp_ft"], lr=["2e-4"]))
    assert (config.mode, config.train_ratio, config.lr) == ("lp_ft", 0.1, 2e-4)
    assert config.backbone == "efficientnet_lite0"


def test_first_trials_cover_every_cell_once_the_longest_first() -> None:
    space = Space(make_settings(mode=["freeze", "scratch"], train_ratio=["0.1", "0.8"]))
    cells = [(0.8, "scratch"), (0.8, "freeze"), (0.1, "scratch"), (0.1, "freeze")]
    assert [(cell["train_ratio"], cell["mode"]) for cell in space.cells()] == cells
