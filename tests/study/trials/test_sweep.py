"""A sweep gives each trial what it would get alone, and one that fails takes no other with it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study.cluster.stores import Folder
from study.execution.replay import differences
from study.records.outputs import read_outputs
from study.records.trial_record import TrialRecord
from study.search.confirmation import Planned
from study.trials.sweep import FinalScores, Swept, cell_key, sweep
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import make_config
from tests.support.study_fixtures import Patch
from tl_core.config import TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.device import CPU
from tl_core.training.setup import Inputs
from tl_core.training.train import run_trial


def config(weights: Path, **given: Any) -> TrialConfig:
    plain = {"train_ratio": 0.2, "backbone": TINY, "weights": str(weights), "image_size": SIDE}
    return make_config(**plain | {"min_steps": 4} | given)


@pytest.fixture
def inputs(images: ImageSet, own_cache: Path) -> Inputs:
    return Inputs(images, own_cache, CPU)


def test_numbers_are_those_of_each_trial_alone(
    inputs: Inputs, tiny_weights: Path, tmp_path: Path
) -> None:
    batch = [
        Planned(config(tiny_weights, lr=lr, seed=seed, seeds=2), "confirm", tests=True, trial=trial)
        for trial, (lr, seed) in enumerate([(1e-3, 0), (1e-2, 0), (1e-3, 5)], start=7)
    ]
    found = [Swept.of(swept.plain()) for swept in sweep(batch, inputs, Folder(tmp_path))]
    assert [swept.trial for swept in found] == [7, 8, 9]
    for planned, swept in zip(batch, found, strict=True):
        alone = run_trial(planned.config, inputs.images, inputs.cache, CPU, read_test=True)
        assert swept.tested
        record = TrialRecord(0, planned.config, history=[*swept.epochs], test=swept.tested.scores)
        assert differences(record, list(alone.history), alone.test) == {}
        kept = read_outputs(tmp_path, swept.trial, swept.tested.outputs or "")
        assert kept
        for split, outputs in alone.outputs.items():
            torch.testing.assert_close(kept[split], outputs, atol=1e-4, rtol=1e-4)
    assert len({swept.seconds for swept in found}) == 1
    assert found[0].seconds > 0


def test_a_trial_that_diverges_fails_alone(
    inputs: Inputs, tiny_weights: Path, tmp_path: Path
) -> None:
    batch = [Planned(config(tiny_weights, lr=lr), trial=i) for i, lr in enumerate((1e-3, 1e38))]
    good, bad = sweep(batch, inputs, Folder(tmp_path))
    assert (len(good.epochs), good.error, good.tested) == (2, None, FinalScores({}))
    assert bad.error
    assert bad.error.startswith("DivergedError: ")
    assert (good.diverged, bad.diverged) == (False, True)
    assert bad.details.splitlines()[-1].endswith(bad.error)


@pytest.mark.parametrize("most", [1, 2])
def test_what_is_too_much_together_is_tried_in_halves(
    most: int, inputs: Inputs, monkeypatch: Patch, tmp_path: Path
) -> None:
    def run_sweep(configs: list[TrialConfig], *_: object) -> list[Any]:
        if len(configs) > most or configs[0].seed == 3:
            raise MemoryError("too many")
        return [SimpleNamespace(history=(), test={}, outputs={}, error=None) for _ in configs]

    monkeypatch.setattr("study.trials.sweep.run_sweep", run_sweep)
    batch = [Planned(make_config(seed=seed), trial=seed) for seed in range(6)]
    found = sweep(batch, inputs, Folder(tmp_path))
    errors = [swept.error for swept in found]
    assert [swept.trial for swept in found] == list(range(6))
    assert errors[3] == "MemoryError: too many"
    assert errors.count(None) == 5 if most == 1 else 4 <= errors.count(None) <= 5


def test_a_full_disk_is_not_the_fault_of_a_trial(
    inputs: Inputs, monkeypatch: Patch, tmp_path: Path
) -> None:
    def run_sweep(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("study.trials.sweep.run_sweep", run_sweep)
    with pytest.raises(OSError, match="No space left"):
        sweep([Planned(make_config(), trial=i) for i in (0, 1)], inputs, Folder(tmp_path))


def test_a_winner_leaves_its_weights(inputs: Inputs, tiny_weights: Path, tmp_path: Path) -> None:
    planned = Planned(config(tiny_weights), tests=True, winner=True, trial=3)
    (swept,) = sweep([planned], inputs, Folder(tmp_path))
    assert (swept.error, len(swept.epochs)) == (None, 2)
    assert swept.tested
    assert 0 <= swept.tested.scores["test_accuracy"] <= 1
    assert swept.tested.outputs is None, "its confirming trial keeps them"
    assert (tmp_path / "winner" / "model.json").exists()


def test_trials_of_one_sweep_differ_in_what_can_be_stacked() -> None:
    first = Planned(make_config(lr=1e-3, seed=1), "search")
    same = Planned(make_config(lr=1e-2, seed=4, seeds=8, aux_weight=0.5), "search")
    assert cell_key(first) == cell_key(same)
    others = [replace(first, tests=True), Planned(make_config(train_ratio=0.2), "search")]
    assert all(cell_key(other) != cell_key(first) for other in others)
