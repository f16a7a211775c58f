"""What is done to a study while it runs, and when: drawn from a seed before it starts."""

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
"""The last: driver, Ray, workers, sender and server at once, as when a machine goes down."""
OF_THE_SERVER: tuple[Kind, ...] = ("server killed", "server stopped")
HURT_SHARE = 0.6
"""Of the trials, the first, in which all kinds occur. In the rest only the server is hurt, so that
driver and workers live long enough to tell whether their memory grows."""
EVERY, CALM_EVERY = 10, 40
"""Trials to a fault in the first part and in the rest, on average."""
LEAST_TRIALS = 20
"""Of a study that is hurt in all ways before it ends."""
_MOST_DELAY_S, _MOST_AWAY_S = 1.0, 3.0


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    kind: Kind
    after: int
    """Trials that have ended by then."""
    delay_s: float
    """From then on, or from when a trial runs again, so that it strikes trials anywhere."""
    pick: float
    """Which of the workers is hurt, as a share of their number."""
    away_s: float
    """For how long what was hurt is not there."""


def schedule(trials: int, seed: int) -> list[Fault]:
    """The faults of a study of so many trials, in order; every kind occurs, for any seed."""
    if trials < LEAST_TRIALS:
        raise ValueError(f"{trials} trials are too few for a fault of each kind: {LEAST_TRIALS}")
    rng, calm = random.Random(seed), round(HURT_SHARE * trials)
    hurt = _draw(rng, KINDS, max(len(KINDS), calm // EVERY), range(1, calm))
    few = max(1, (trials - calm) // CALM_EVERY)
    return hurt + _draw(rng, OF_THE_SERVER, few, range(calm, trials - 4))


def _draw(rng: random.Random, kinds: tuple[Kind, ...], number: int, when: range) -> list[Fault]:
    order = itertools.islice(_turns(rng, kinds), number)
    # Each in a stretch of its own, so that none waits for the one before.
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
    """Every kind in an order that is drawn, then all of them again."""
    while True:
        yield from rng.sample(kinds, len(kinds))


def inflict(fault: Fault, study: SoakStudy) -> None:
    """Hurt the study, which is running a trial, and have it go on.

    The server comes back while others are hurt; only a driver that starts waits for it.

    Raises `RuntimeError` when the driver ends in another way than it should.
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
    with suppress(ProcessLookupError):  # It has ended meanwhile: Ray is about to start another.
        os.kill(there[int(fault.pick * len(there))], signal.SIGKILL)
