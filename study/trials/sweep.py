"""A planned trial, or frozen ones of a cell as one computation, in whichever process runs them."""

import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from study.cluster.stores import Storage, contents
from study.records.outputs import keep_outputs
from study.records.study_folder import WINNER
from study.search.confirmation import Planned
from tl_core.aux_task import AuxTask
from tl_core.config import EpochMetrics, Report
from tl_core.errors import DivergedError
from tl_core.files import is_disk_full
from tl_core.inference.winner import save_winner
from tl_core.objectives.outputs import Outputs
from tl_core.training.checkpoints import EVERY_S, CheckpointStore
from tl_core.training.setup import Inputs
from tl_core.training.sweep import run_sweep
from tl_core.training.train import run_trial


class FinalScores(NamedTuple):
    """What a trial has made of the test set."""

    scores: dict[str, float]
    """`test_accuracy` and so on; empty unless the test set was read."""
    outputs: str | None = None
    """Hash of the file of its outputs, if they were kept."""


def run_planned(
    planned: Planned,
    inputs: Inputs,
    storage: Storage,
    report: Report,
    checkpoint: CheckpointStore | None = None,
    checkpoint_every: float = EVERY_S,
) -> FinalScores:
    """Run one trial; keep a winner's weights, or a confirming trial's outputs, in `storage`."""
    config, i = planned.config, inputs
    given = (config, i.images, i.cache, i.device, report, planned.tests, checkpoint)
    result = run_trial(*given, verify=i.verify, checkpoint_every=checkpoint_every)
    if planned.winner:
        with tempfile.TemporaryDirectory() as folder:
            save_winner(Path(folder), result, config, i.images)
            storage.replace(WINNER, contents(Path(folder)))
    return final_scores(planned, result.test, result.outputs, storage, i.images.aux.task)


def final_scores(
    planned: Planned,
    scores: dict[str, float],
    outputs: dict[str, Outputs],
    storage: Storage,
    task: AuxTask,
) -> FinalScores:
    """Keep the outputs of a trial that confirms; a winner repeats those of another one."""
    keeps = planned.tests and not planned.winner
    kept = keep_outputs(storage, number_of(planned), outputs, task) if keeps else None
    return FinalScores(scores, kept)


def number_of(planned: Planned) -> int:
    """The number of a trial that the queue has given one."""
    assert planned.trial is not None
    return planned.trial


@dataclass(frozen=True)
class Swept:
    """What became of one trial of a sweep."""

    trial: int
    epochs: tuple[EpochMetrics, ...] = ()
    tested: FinalScores | None = None
    seconds: float = 0.0
    """Its share of the sweep's wall time."""
    error: str | None = None
    details: str = ""
    """The traceback of an error."""
    diverged: bool = False
    """Whether the trial's own numbers are the error, and not the machine."""

    def plain(self) -> dict[str, Any]:
        """As plain values, for the way from a worker."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """The opposite of `plain`."""
        epochs = tuple(EpochMetrics(**e) for e in plain["epochs"])
        tested = FinalScores(*plain["tested"]) if plain["tested"] else None
        return cls(**plain | {"epochs": epochs, "tested": tested})


def cell_key(planned: Planned) -> tuple[bool, str]:
    """What trials of one sweep have in common."""
    own = {"lr", "aux_weight", "seed", "seeds"}
    return planned.tests, planned.config.model_dump_json(exclude=own)


def sweep(batch: Sequence[Planned], inputs: Inputs, storage: Storage) -> list[Swept]:
    """Run frozen trials that share their `cell_key`; a winner comes alone.

    A trial that diverges fails alone. Any other error, such as too little memory, has both halves
    of the batch tried apart, until the trial that fails is alone.

    Raises `OSError` if the disk is full: the next trials would fail, too.
    """
    start = time.perf_counter()
    try:
        found = (_winner if batch[0].winner else _together)(batch, inputs, storage)
    except Exception as error:
        if isinstance(error, OSError) and is_disk_full(error):
            raise
        if len(batch) == 1:
            return [_failed(batch[0], error, time.perf_counter() - start)]
    else:
        share = (time.perf_counter() - start) / len(batch)
        return [Swept(**vars(swept) | {"seconds": share}) for swept in found]
    half = len(batch) // 2
    return sweep(batch[:half], inputs, storage) + sweep(batch[half:], inputs, storage)


def _together(batch: Sequence[Planned], inputs: Inputs, storage: Storage) -> list[Swept]:
    results = run_sweep([p.config for p in batch], inputs, batch[0].tests)
    return [
        Swept(
            number_of(p),
            r.history,
            None
            if r.error
            else final_scores(p, r.test, r.outputs, storage, inputs.images.aux.task),
            error=_line(r.error),
            details=_text(r.error),
            diverged=r.error is not None,
        )
        for p, r in zip(batch, results, strict=True)
    ]


def _winner(batch: Sequence[Planned], inputs: Inputs, storage: Storage) -> list[Swept]:
    (planned,) = batch
    epochs: list[EpochMetrics] = []
    found = run_planned(planned, inputs, storage, epochs.append)
    return [Swept(number_of(planned), tuple(epochs), found)]


def _failed(planned: Planned, error: Exception, seconds: float) -> Swept:
    own = isinstance(error, DivergedError)
    words = _line(error), _text(error)
    return Swept(number_of(planned), (), None, seconds, *words, diverged=own)


def _line(error: Exception | None) -> str | None:
    return f"{type(error).__name__}: {error}" if error else None


def _text(error: Exception | None) -> str:
    return "".join(traceback.format_exception(error)) if error else ""
