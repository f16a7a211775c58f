"""An interrupted trial that resumes gives the same numbers as one without interruption."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.core.trials import CPU, Trials, changed, state, untimed
from tl_core.config import EpochMetrics, Mode
from tl_core.files import LocalFile
from tl_core.training import setup
from tl_core.training.checkpoints import CheckpointWarning, State, load_checkpoint
from tl_core.training.learners.net import NetLearner
from tl_core.training.train import TrialResult, run_trial

pytestmark = pytest.mark.usefixtures("written")
WHOLE: tuple[Mode, ...] = ("finetune", "lp_ft", "scratch")


class Cut(Exception):  # noqa: N818 - nothing went wrong.
    """Ends a trial as a stop from outside would, between two epochs."""


def run(
    trials: Trials, mode: str, path: Path | None, cut_after: int = 0, **changes: Any
) -> tuple[TrialResult | None, list[EpochMetrics]]:
    """Run a trial of three epochs, or until it is cut; return its result and what it reported."""
    seen: list[EpochMetrics] = []

    def report(metrics: EpochMetrics) -> None:
        seen.append(metrics)
        if metrics.epoch == cut_after:
            raise Cut

    torch.seed()
    config = trials.config(mode, **{"epochs": 3} | changes)
    place = LocalFile(path) if path else None
    try:
        result = run_trial(
            config, trials.images, trials.cache, CPU, report, True, place, checkpoint_every=0
        )
        return result, seen
    except Cut:
        return None, seen


def assert_same(one: TrialResult | None, other: TrialResult | None) -> None:
    assert one is not None
    assert other is not None
    assert untimed(one) == untimed(other)
    assert one.test == other.test
    assert changed(state(one.net), state(other.net)) == set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "7.ckpt"


@pytest.mark.parametrize(("mode", "changes", "cuts"), [
    ("finetune", {}, (1, 1, 2)),
    ("lp_ft", {"aux_weight": "auto", "augment": "flip"}, (2,)),
    ("scratch", {"aux_weight": "auto"}, (1,)),
    # A network with dropout, which draws from torch's generator.
    ("finetune", {"backbone": "squeezenet1_1", "weights": "none"}, (1,)),
])  # fmt: skip
def test_a_cut_changes_nothing(
    trials: Trials, path: Path, mode: Mode, changes: dict[str, Any], cuts: tuple[int, ...]
) -> None:
    uncut, _ = run(trials, mode, None, **changes)
    for cut_after in cuts:
        _, before = run(trials, mode, path, cut_after, **changes)
    resumed, seen = run(trials, mode, path, **changes)
    assert_same(resumed, uncut)
    assert [metrics.epoch for metrics in seen] == [1, 2, 3]
    assert seen[:cut_after] == before  # Their clocks, too: they were not run again.


@pytest.mark.parametrize(("mode", "changes"), [
    ("finetune", {"backbone": "squeezenet1_1", "weights": "none"}),
    ("lp_ft", {"aux_weight": "auto", "augment": "crop", "precision": "fp16"}),
    ("partial", {"batchnorm": "train"}),
])  # fmt: skip
def test_a_cut_between_two_steps_changes_nothing(
    trials: Trials, path: Path, mode: Mode, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    uncut, _ = run(trials, mode, None, **changes)
    step = NetLearner.step

    def cut_after_five(self: NetLearner, views: Any, optimizer: Any, number: int = 0) -> Any:
        if number == 5:  # The third of three steps of the second epoch.
            raise Cut
        return step(self, views, optimizer, number)

    with monkeypatch.context() as patch:
        patch.setattr(NetLearner, "step", cut_after_five)
        assert run(trials, mode, path, **changes)[0] is None
    kept = load_checkpoint(LocalFile(path))
    assert (len(kept["history"]), kept["part"]["steps"], kept["part"]["n_images"]) == (1, 2, 16)
    resumed, seen = run(trials, mode, path, **changes)
    assert_same(resumed, uncut)
    assert [metrics.epoch for metrics in seen] == [1, 2, 3]


@pytest.mark.parametrize("mode", WHOLE)
def test_a_state_has_all_epochs_but_the_last(trials: Trials, path: Path, mode: Mode) -> None:
    kept: list[int] = []

    def report(_: EpochMetrics) -> None:
        kept.append(len(load_checkpoint(LocalFile(path))["history"]))

    given = (trials.config(mode, epochs=3), trials.images, trials.cache, CPU, report)
    run_trial(*given, checkpoint=LocalFile(path), checkpoint_every=0)
    assert kept == [1, 2, 2]


def test_a_state_is_saved_when_the_last_one_is_old_enough(
    trials: Trials, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, kept = itertools.count(step=10), list[int | None]()
    monkeypatch.setattr("tl_core.training.checkpoints.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("tl_core.training.checkpoints.save_checkpoint", lambda _, s: save(s))

    def save(state: State) -> None:
        kept.append(3 * len(state["history"]) + state["part"]["steps"])

    given = (trials.config("finetune", epochs=3), trials.images, trials.cache, CPU)
    run_trial(*given, checkpoint=LocalFile(path), checkpoint_every=30)
    # The clock is asked once before each of 8 states, and again when one is saved.
    assert kept == [3, 6]


def test_lp_ft_skips_its_first_stage_and_freeze_has_none(lone_trials: Trials, path: Path) -> None:
    run(lone_trials, "freeze", path)
    assert not path.parent.exists()
    run(lone_trials, "lp_ft", path, 1)
    features = lone_trials.cache / "features"
    features.rename(lone_trials.cache / "moved")
    run(lone_trials, "lp_ft", path)
    assert not features.exists()


def test_a_full_disk_ends_the_trial_and_leaves_the_earlier_file(trials: Trials, path: Path) -> None:
    run(trials, "finetune", path, 1)
    before = path.read_bytes()
    # On Linux every write to this device fails as on a full disk.
    (path.parent / ".7.ckpt.fresh").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        run(trials, "finetune", path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["7.ckpt"]


@pytest.mark.parametrize(("mode", "kept"), [("finetune", 0), ("scratch", 5000), ("lp_ft", -1)])
def test_a_truncated_checkpoint_is_warned_of_and_replaced(
    trials: Trials, path: Path, mode: Mode, kept: int
) -> None:
    run(trials, mode, path, 1, epochs=2)
    path.write_bytes(path.read_bytes()[:kept])
    warning = r"checkpoint .*7\.ckpt is damaged: .*; the trial starts anew"
    with pytest.warns(CheckpointWarning, match=warning):
        resumed, _ = run(trials, mode, path, epochs=2)
    assert_same(resumed, run(trials, mode, None, epochs=2)[0])
    assert len(load_checkpoint(LocalFile(path))["history"]) == 1


@pytest.mark.parametrize(("changes", "difference"), [
    ({"lr": 0.002}, "lr is 0.001 and not 0.002"),
    ({"epochs": 1, "seed": 1}, "epochs is 2 and not 1, seed is 0 and not 1"),
    ({"weights": "none"}, "weights_id is 'tiny.pth"),
])  # fmt: skip
def test_another_configuration_starts_anew(
    trials: Trials, path: Path, changes: dict[str, Any], difference: str
) -> None:
    changes = {"epochs": 2} | changes
    run(trials, "finetune", path, 1, epochs=2)
    with pytest.warns(CheckpointWarning, match=f"is another trial's: {difference}"):
        resumed, _ = run(trials, "finetune", path, **changes)
    assert_same(resumed, run(trials, "finetune", None, **changes)[0])


def test_other_images_or_weights_start_anew(
    trials: Trials, three_class_trials: Trials, path: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "own.pth"
    entries = torch.load(trials.weights, weights_only=True)
    torch.save(entries, weights)
    run(trials, "finetune", path, 1, weights=str(weights))
    torch.save({name: value.float() / 2 for name, value in entries.items()}, weights)
    setup.pretrained.cache_clear()  # As in a new process.
    with pytest.warns(CheckpointWarning, match=r"weights_id is 'own\.pth sha256:\w+' and not 'own"):
        run(trials, "finetune", path, cut_after=1, weights=str(weights))
    was, now = trials.images.key, three_class_trials.images.key
    difference = f"another trial's: image_set is '{was}' and not '{now}'; the trial starts anew$"
    with pytest.warns(CheckpointWarning, match=difference):
        _, seen = run(three_class_trials, "finetune", path, cut_after=1, weights=str(weights))
    assert [metrics.epoch for metrics in seen] == [1]


SAVING = """
import sys, torch
from pathlib import Path
from tl_core.files import LocalFile
from tl_core.training.checkpoints import save_checkpoint

for epoch in range(10**9):
    state = {"epoch": epoch, "weights": torch.full((10**6,), epoch)}
    save_checkpoint(LocalFile(Path(sys.argv[1])), state)
    print(epoch, flush=True)
"""


@pytest.mark.integration
@pytest.mark.parametrize("moment", range(4))
def test_kill_9_at_any_moment_leaves_a_whole_file(path: Path, moment: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    message = child.stdout.readline()
    time.sleep(0.0037 * moment)  # In the middle of another part of saving each time.
    os.kill(child.pid, signal.SIGKILL)
    message = (message + child.stdout.read()).split()[-1]
    child.wait()
    kept = load_checkpoint(LocalFile(path))
    assert kept["epoch"] - int(message) in (0, 1)
    assert kept["weights"].eq(kept["epoch"]).all()
