"""The faults of a study: their schedule, drawn from a seed beforehand, and how to inject them."""

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

from tests.soak.study import SoakStudy
from tests.support.processes import kill_all

Kind = Literal[
    "worker killed",
    "server killed",
    "server stopped",
    "driver killed",
    "driver stopped",
    "all killed",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The last: driver, Ray, workers, sender and server at once, as in a power failure."""
OF_THE_SERVER: tuple[Kind, ...] = ("server killed", "server stopped")
FAULTY_SHARE = 0.6
"""All kinds occur in this share of the trials, the first ones. Later only the server has faults, so
that driver and workers live long enough to show whether their memory grows."""
EVERY, CALM_EVERY = 10, 40
"""Mean number of trials between faults in the first part, and later."""
LEAST_TRIALS = 12
"""Fewest trials of a study with a fault of each kind."""
_MOST_DELAY_S, _MOST_AWAY_S = 1.0, 3.0


@dataclass(frozen=True)
class Fault:
    """One fault."""

    kind: Kind
    after: int
    """Trials that have ended by then."""
    delay_s: float
    """From then on, or from when a trial runs again, so that it strikes anywhere in a trial."""
    pick: float
    """Which of the workers is killed, as a share of their number."""
    away_s: float
    """For how long the killed process is away."""


def schedule(trials: int, seed: int) -> list[Fault]:
    """The faults of a study of so many trials, in order; every kind occurs for any seed."""
    if trials < LEAST_TRIALS:
        raise ValueError(f"{trials} trials are too few for a fault of each kind: {LEAST_TRIALS}")
    rng, calm = random.Random(seed), round(FAULTY_SHARE * trials)
    first = _draw(rng, KINDS, max(len(KINDS), calm // EVERY), range(1, calm))
    few = (trials - calm) // CALM_EVERY
    return first + _draw(rng, OF_THE_SERVER, few, range(calm, trials - 4))


def _draw(rng: random.Random, kinds: tuple[Kind, ...], number: int, when: range) -> list[Fault]:
    order = itertools.islice(_turns(rng, kinds), number)
    # One in each stretch, so that none waits for the one before.
    stretches = (when[i * len(when) // number :][: len(when) // number] for i in range(number))
    places = [rng.choice(stretch) for stretch in stretches]
    return [
        Fault(
            kind,
            after,
            round(rng.uniform(0, _MOST_DELAY_S), 3),
            round(rng.random(), 3),
            round(rng.uniform(0, _MOST_AWAY_S), 3),
        )
        for kind, after in zip(order, places, strict=True)
    ]


def _turns(rng: random.Random, kinds: tuple[Kind, ...]) -> Iterator[Kind]:
    """Every kind in random order, again and again."""
    while True:
        yield from rng.sample(kinds, len(kinds))


def inject(fault: Fault, study: SoakStudy) -> None:
    """Inject a fault while the study runs a trial, and resume the study.

    The server restarts in the background; only a driver that starts waits for it.

    Raises `RuntimeError` when the driver ends with a wrong exit code.
    """
    match fault.kind:
        case "worker killed":
            _kill_worker(fault, study)
        case "server killed":
            study.end_server(signal.SIGKILL, fault.away_s)
        case "server stopped":
            study.end_server(signal.SIGTERM, fault.away_s)
        case "driver killed":
            study.end_driver(signal.SIGKILL, -signal.SIGKILL)
            time.sleep(fault.away_s)
            study.resume()
        case "driver stopped":
            study.end_driver(signal.SIGTERM, 130)
            time.sleep(fault.away_s)
            study.resume()
        case "all killed":
            study.end_server(signal.SIGKILL, fault.away_s)
            kill_all(study.home)
            study.end_driver(signal.SIGKILL, -signal.SIGKILL)
            study.resume()


def _kill_worker(fault: Fault, study: SoakStudy) -> None:
    there = study.training()
    with suppress(ProcessLookupError):  # It has ended, and Ray starts another.
        os.kill(there[int(fault.pick * len(there))], signal.SIGKILL)
