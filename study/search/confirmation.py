"""The trials that follow the search, stage by stage, until a study has its answer.

1. `repeat`: the best configurations of each cell on further seeds, so that one can be chosen.
2. `confirm`: the chosen one of each cell on fresh seeds. All cells get the same seeds, so that
   modes can be compared seed by seed.
3. `repeat`: the candidates of the best network again, without the auxiliary task.
4. `control`: what that chose, on the fresh seeds; and `winner`: the winner once more, on its first
   fresh seed, for its weights.

A seed sets the initial weights, the batch order and the training subset. Only the trials of the
last two stages read the test set, once each. `study.search.choosing` says what is chosen.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from study.config.defaults import TRIALS_PER_CELL
from study.config.settings import Settings
from study.records.trial_record import ENDED, Kind, TrialRecord, best_of
from study.search.cells import Cell, all_cells, shares
from study.search.choosing import (
    BEST,
    CONTROLS,
    REPEATS,
    Choices,
    Chosen,
    fresh_seeds,
    on_seed,
)
from study.search.control import controlled
from tl_core.config import FROZEN, TrialConfig

PART_OF: dict[Kind, str] = {
    "search": "search", "repeat": "repeats", "confirm": "confirmation",
    "control": "auxiliary task's control", "winner": "winner's training",
}  # fmt: skip
"""What trials of each kind belong to, in words."""


@dataclass(frozen=True)
class Planned:
    """A trial that is to run."""

    config: TrialConfig
    kind: Kind = "search"
    source: int | None = None
    """The trial of the search that its configuration comes from."""
    winner: bool = False
    """Whether its weights become the study's."""
    tests: bool = False
    """Whether it reads the test set at its end: nothing is chosen by it any more."""
    draw: int | None = None
    """Of a trial of the search: the number of its draw."""
    trial: int | None = None
    """Its number if an earlier run of the study started it."""

    def plain(self) -> dict[str, Any]:
        """As plain values, for the way to a worker."""
        return vars(self) | {"config": self.config.model_dump()}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """The opposite of `plain`."""
        return cls(**plain | {"config": TrialConfig(**plain["config"])})


def plan(
    settings: Settings,
    records: Sequence[TrialRecord],
    given_up: Collection[tuple[Kind, TrialConfig]] = (),
) -> list[Planned]:
    """Return the trials of the next stage after the search; none if everything has been done.

    Some of them may have ended: see `remaining`. The next stage is known when all of them have.
    Every cell is confirmed, with the configuration of the nearest ratio (in log `train_ratio`) if
    no trial of its own has finished; a mode without any is left out. Without `--confirm` the
    winner, the best trial of the search, is trained once more, for its weights, and that is all.
    No stage waits for trials that were `given_up`, nor has them.
    """
    last = {(r.kind, r.config): r for r in records}
    for whole in _stages(settings, records):
        stage = [p for p in whole if (p.kind, p.config) not in given_up]
        if any(_is_open(p, last.get((p.kind, p.config)), records) for p in stage):
            return stage
    return []


def remaining(
    planned: list[Planned], records: Sequence[TrialRecord], winner: TrialRecord | None
) -> list[Planned]:
    """Return the planned trials that a resumed study still has to run.

    A trial that was cut off goes on under its number. A trial that has ended runs again only if it
    has to make the study's weights and the present ones come from another trial, `winner`.
    """
    before = {(r.kind, r.config): r for r in records}
    kept = (winner.kind, winner.config) if winner else None
    left = []
    for p in planned:
        key = (p.kind, p.config)
        there = before.get(key)
        if there is None or (p.winner and there.status in ENDED and key != kept):
            left.append(p)
        elif there.status not in ENDED:
            left.append(replace(p, trial=there.trial))
    return left


def stage_name(settings: Settings, stage: Sequence[Planned], records: Sequence[TrialRecord]) -> str:
    """What the trials of a stage do, in a word or two."""
    kinds = {p.kind for p in stage}
    if "confirm" in kinds:
        return "confirming"
    if kinds == {"winner"}:
        return "training the winner"
    # An extended study chooses again after trials that confirmed.
    choosing = {config for _, config in Choices(settings, records).repeated()}
    return "choosing" if any(p.config in choosing for p in stage) else "auxiliary task's control"


def still_planned(settings: Settings, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the finished confirming trials and controls that are still planned, the last of each.

    When a study is extended, other configurations may become the best.
    """
    choices = Choices(settings, records)
    wanted = {(p.kind, p.config) for p in (*_confirming(choices), *_controls(choices))}
    ended = {(r.kind, r.config): r for r in records if r.status == "done"}
    return [r for key, r in ended.items() if key in wanted]


def settled(settings: Settings, records: Sequence[TrialRecord]) -> set[Cell]:
    """Return the cells whose trials have ended, those that confirm what they chose among them."""
    ended = {(r.kind, r.config) for r in records if r.status in ENDED}
    whole = itertools.islice(_stages(settings, records), 2)  # Repeats, and those that confirm.
    planned = [p for stage in whole for p in stage]
    cells = {Cell.of(p.config) for p in planned}
    left = {Cell.of(r.config) for r in records if r.kind == "search" and r.status not in ENDED}
    return cells - left - {Cell.of(p.config) for p in planned if (p.kind, p.config) not in ended}


def max_confirm_trials(settings: Settings) -> int:
    """How many trials can follow the search at most.

    The shares of the cells say how many configurations can be repeated. A joint search may give
    all its trials to any cell.
    """
    if not settings.confirm:
        return 1
    joint = dict.fromkeys(all_cells(settings), settings.trials)
    most = joint if settings.design == "joint" else shares(settings)
    n = {cell: min(BEST, trials) if trials > 1 else 0 for cell, trials in most.items()}
    repeats = sum(
        n[cell] * (1 if cell.mode in FROZEN else REPEATS) for cell in n if cell.mode != "probe"
    )
    controls = {
        cell: CONTROLS * REPEATS * (most[cell] >= TRIALS_PER_CELL) + settings.confirm_seeds
        for cell in n
        if cell.mode in settings.networks and settings.aux_weight != (0.0,)
    }
    # They are the best network's, and the same mode's at the smallest ratio.
    pairs = ({cell, cell._replace(train_ratio=min(settings.train_ratio))} for cell in controls)
    control = max((sum(controls[cell] for cell in pair) for pair in pairs), default=0)
    repeats = min(repeats, settings.trials * REPEATS)
    return repeats + len(n) * settings.confirm_seeds + control + 1


def max_left(settings: Settings, records: Sequence[TrialRecord]) -> int:
    """How many trials can follow at most where the search has ended.

    A stage after one with trials left may have others than those that have ended.
    """
    ended, most = {(r.kind, r.config) for r in records if r.status in ENDED}, 0
    for stage in _stages(settings, records):
        left = [p for p in stage if (p.kind, p.config) not in ended]
        most += len(stage) - len(left)
        if left:
            break
    return max_confirm_trials(settings) - most


def _stages(settings: Settings, records: Sequence[TrialRecord]) -> Iterator[list[Planned]]:
    """Yield one stage after another; each is right only when those before it have ended."""
    if not settings.confirm:
        if best := best_of(records, settings.metric):
            yield [Planned(best.config, "winner", best.trial, winner=True)]
        return
    choices = Choices(settings, records)
    yield [Planned(config, "repeat", best.trial) for best, config in choices.repeated()]
    yield _confirming(choices)
    yield [
        Planned(config, "repeat", best.trial)
        for arm in controlled(choices)
        for best, config in choices.repeated_control(*arm)
    ]
    # The winner comes last, so that it has the highest number.
    yield [*_controls(choices), *_winner(choices)]


def _is_open(planned: Planned, there: TrialRecord | None, records: Sequence[TrialRecord]) -> bool:
    """Whether a trial has not ended, or has made weights that another trial's have replaced.

    A winner that failed is tried again when the study has been extended.
    """
    if there is None or there.status not in ENDED:
        return True
    later = [r for r in records if r.trial > there.trial] if planned.winner else []
    kind = "search" if there.status == "failed" else "winner"
    return any(r.kind == kind and r.status == "done" for r in later)


def _confirming(choices: Choices) -> list[Planned]:
    chosen = choices.chosen.values()
    return [p for c in chosen for p in _on_fresh_seeds(choices.settings, c, "confirm")]


def _controls(choices: Choices) -> list[Planned]:
    controls = [choices.control(*arm) for arm in controlled(choices)]
    return [p for c in controls for p in _on_fresh_seeds(choices.settings, c, "control")]


def _on_fresh_seeds(settings: Settings, chosen: Chosen, kind: Kind) -> list[Planned]:
    trials = [on_seed(seed, chosen.config) for seed in fresh_seeds(settings)]
    return [Planned(config, kind, chosen.source.trial, tests=True) for config in trials]


def _winner(choices: Choices) -> list[Planned]:
    """The winner on its first fresh seed: the same numbers as there, and its weights."""
    if not choices.ranking or not choices.winner:
        return []
    source = choices.chosen[Cell.of(choices.winner)].source
    return [Planned(choices.winner, "winner", source.trial, winner=True, tests=True)]
