"""Which cells are trained once more without the auxiliary task, or with it: the controls."""

import math

from study.config.values import is_range
from study.records.trial_record import best_of
from study.search.cells import Cell
from study.search.choosing import Choices, Rank, repeats_of
from tl_core.aux_task import AuxWeight
from tl_core.config import FROZEN


def controlled(choices: Choices) -> list[tuple[Cell, AuxWeight]]:
    """The cells that get a control, and its auxiliary weight.

    They are the best network's, and the same mode at the smallest ratio. The weight is 0, or if the
    cell has 0, that of its mode's best trial that has the task. Frozen trials need no control, as
    their two heads share no weights.
    """
    if (best := _best_network(choices)) is None:
        return []
    settings = choices.settings
    cells = dict.fromkeys((best, best._replace(train_ratio=min(settings.train_ratio))))
    own = [r for r in choices.records if r.config.mode == best.mode and r.config.aux_weight != 0]
    rival = best_of(own, settings.metric)
    with_task = rival.config.aux_weight if rival else _untried_weight(settings.aux_weight)
    weights = {
        cell: 0.0 if choices.chosen[cell].config.aux_weight != 0 else with_task for cell in cells
    }
    return [(cell, weight) for cell, weight in weights.items() if weight is not None]


def _best_network(choices: Choices) -> Cell | None:
    """The best network by its repeats, or if it has none, by the search.

    The best on the fresh seeds would be lucky on them, and its control is not: the auxiliary task
    would seem to help.
    """
    networks = [cell for cell in choices.ranking if cell.mode not in FROZEN]
    if not networks:
        return None

    def place(cell: Cell) -> tuple[bool, Rank, int]:
        chosen = choices.chosen[cell]
        rank = choices.rank("repeat", repeats_of(choices.settings, chosen.config))
        if rank.cost == math.inf:
            rank = choices.rank("search", [chosen.source.config])
        return chosen.borrowed, rank, chosen.source.trial

    return min(networks, key=place)


def _untried_weight(given: tuple[AuxWeight, ...]) -> AuxWeight | None:
    """A weight where none but 0 was tried: the middle of a range, or the first choice."""
    if is_range(given):
        low, high = given
        return (float(low) + float(high)) / 2
    return next((weight for weight in given if weight != 0), None)
