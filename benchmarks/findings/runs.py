"""The runs that check the article's findings: their plan, their training, and what is kept."""

import base64
import json
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel
from rich.console import Console

from benchmarks.common import environment
from tl_core.config import TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.device import find_device
from tl_core.models.article import ARTICLE_SIZE, earlier_recipe
from tl_core.objectives.losses import log_losses
from tl_core.objectives.metrics import hits
from tl_core.progress import track
from tl_core.runtime import keep_freed_memory
from tl_core.training.train import run_trial

Group = Literal["article", "tasks", "old recipe", "new recipe"]
"""The article's own runs; with the auxiliary task; each mode tuned, under the article's recipe and
under the default one."""

ARTICLE_LR = 1e-3
"""Of heads alone and of the article's own nets."""
ARTICLE_EPOCHS = 10
OWN_EPOCHS = 6
"""Of the article's fully connected net, which learns slowly."""
FROZEN_SIZE = 224
"""Side of the images that frozen networks see in the article's runs, pixels."""
AUX_WEIGHT = 0.3
"""The article weighs its losses 0.7 and 0.3."""
FROZEN_SEEDS = 10
"""Fewest seeds of a frozen run, which takes a second on cached features."""
LARGE, SMALL, FEWEST = 0.8, 0.1, 0.02
"""The article's two train ratios, and a smaller one."""


class Planned(BaseModel):
    """One trial that is to run."""

    group: Group
    config: TrialConfig

    @property
    def run(self) -> TrialConfig:
        """Its configuration without the seed, which all seeds of a run share."""
        return self.config.model_copy(update={"seed": 0})


class Finished(Planned):
    """One trial that ran."""

    data: str
    """`ImageSet.content` of the images."""
    images: int
    test: dict[str, float]
    val_accuracy: list[float]
    """After each epoch."""
    val_log_loss: float
    """At the end."""
    right: str
    """For each test image 1 if it was classified rightly, else 0."""
    log_losses: str
    """Of the test images, nats: float16, in base64."""
    wall_s: float
    """Of the trial, without decoding, and with features only if it computed them."""
    environment: dict[str, Any]
    """Date, versions and hardware, from `benchmarks.common`."""

    @property
    def test_log_losses(self) -> np.ndarray:
        """The log loss of each test image, nats."""
        return np.frombuffer(base64.b64decode(self.log_losses), "<f2").astype(float)


def read(path: Path) -> list[Finished]:
    """What a file of findings holds; nothing, if there is none."""
    if not path.exists():
        return []
    entries = json.loads(path.read_text())["runs"]
    return [Finished.model_validate(e) for e in entries]


@dataclass(frozen=True)
class Plan:
    """What is free to choose; everything else is the article's, or the default."""

    backbone: str
    image_size: int
    """Side of the images that the whole network trains on, pixels."""
    lr: float
    """Of the whole network."""
    seeds: int

    def trials(self) -> list[Planned]:
        """Every run on every seed, the fastest runs first.

        Slow ones go seed by seed, so that after a stop all runs of a group have the same seeds.
        """
        frozen = max(self.seeds, FROZEN_SEEDS)
        trials = [
            Planned(group=group, config=config.model_copy(update={"seed": seed}))
            for group, config in self._runs()
            for seed in range(frozen if config.mode == "freeze" else self.seeds)
        ]
        return sorted(trials, key=lambda t: (t.config.mode != "freeze", t.config.seed))

    def _runs(self) -> list[tuple[Group, TrialConfig]]:
        frozen: dict[str, Any] = {
            "mode": "freeze", "backbone": self.backbone, "lr": ARTICLE_LR,
            "image_size": FROZEN_SIZE, "epochs": ARTICLE_EPOCHS, **earlier_recipe("freeze"),
        }  # fmt: skip
        own: dict[str, Any] = {
            "mode": "scratch", "train_ratio": LARGE, "lr": ARTICLE_LR,
            "image_size": ARTICLE_SIZE, "epochs": 2, **earlier_recipe("scratch"),
        }  # fmt: skip
        # With the task; `benchmarks.findings.recipes` has the same without.
        finetuned: dict[str, Any] = {
            "mode": "finetune", "backbone": self.backbone, "lr": self.lr,
            "image_size": self.image_size, "epochs": ARTICLE_EPOCHS, "precision": "bf16",
            "aux_weight": AUX_WEIGHT,
        }  # fmt: skip
        runs: list[tuple[Group, dict[str, Any]]] = [
            *(("article", frozen | {"train_ratio": ratio}) for ratio in (LARGE, SMALL)),
            ("article", own | {"backbone": "mlp", "epochs": OWN_EPOCHS}),
            *(("tasks", finetuned | {"train_ratio": ratio}) for ratio in (SMALL, FEWEST)),
            *(
                ("tasks", own | {"backbone": "shared_mlp", "aux_weight": w})
                for w in (0.0, AUX_WEIGHT)
            ),
        ]
        return [(group, TrialConfig(**values)) for group, values in runs]


def run_all(
    trials: Sequence[Planned], images: dict[int, ImageSet], cache: Path, processes: int
) -> Iterator[Finished]:
    """Yield each trial as it ends. Its processes end when this one stops early."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_set_up)
    console = Console(stderr=True, highlight=False)
    try:
        running = [pool.submit(_run, t, images[t.config.image_size].path, cache) for t in trials]
        for future in track(as_completed(running), len(running), "Training"):
            finished = future.result()
            console.print(line(finished), soft_wrap=True)
            yield finished
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _set_up() -> None:
    """Set a process up; with more threads than cores they wait for each other."""
    keep_freed_memory()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles Ctrl-C.


def _run(trial: Planned, path: Path, cache: Path) -> Finished:
    """Train one trial on the decoded images at `path`, and score it on the test set."""
    images = ImageSet.open(path)
    device = find_device()
    start = time.perf_counter()
    result = run_trial(trial.config, images, cache, device, read_test=True)
    seconds = round(time.perf_counter() - start, 2)
    logits, labels = result.outputs["test"].logits, torch.from_numpy(images.labels)
    losses = log_losses(logits, labels[result.split.test]).numpy().astype("<f2")
    right = hits(logits, labels[result.split.test])
    return Finished(
        group=trial.group,
        config=trial.config,
        data=images.content,
        images=len(images.labels),
        test=result.test,
        val_accuracy=[epoch.val_accuracy for epoch in result.history],
        val_log_loss=result.history[-1].val_log_loss,
        right="".join("01"[hit] for hit in right.tolist()),
        log_losses=base64.b64encode(losses.tobytes()).decode(),
        wall_s=seconds,
        environment=environment(),
    )


def line(finished: Finished) -> str:
    """One trial on one line."""
    c = finished.config
    return (
        f"{finished.group}: {c.backbone} {c.mode} train_ratio={c.train_ratio:g} "
        f"lr={c.lr} aux_weight={c.aux_weight} {c.image_size} px, seed {c.seed}: "
        f"test accuracy {finished.test['test_accuracy']:.3f} after {finished.wall_s:.0f} s"
    )
