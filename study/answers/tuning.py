"""How well the cells of a study were tuned: their trials, and learning rates at an end of a range.

A mode that was tuned less looks worse than it is. So the answer says how many trials each cell had.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from study.answers.phrases import (
    MODE_WORDS,
    capitalize,
    cell_words,
    enumerate_words,
    seeds,
)
from study.config.defaults import DEFAULTS, TRIALS_PER_CELL
from study.config.settings import Settings
from study.config.values import is_range
from study.records.trial_record import TrialRecord, tried
from study.search.cells import Cell, all_cells, numbers
from study.search.choosing import REPEATS, Choices
from study.search.space import LR_RANGES
from tl_core.config import FROZEN, Mode
from tl_core.text import pluralize

NEAR = 0.1
"""A learning rate this close to an end of its range, as a share of the log range, is at the end."""
_MOST_NAMED = 3
"""Cells that a sentence names, at most."""
_PROBES = (
    "a probe takes one: it has no learning rate to search, and its penalty is chosen on validation "
    "images"
)


class WiderRates(NamedTuple):
    """A wider range of learning rates for a mode whose best ones lie at an end of its range."""

    mode: Mode
    at_an_end: list[tuple[Cell, float]]
    low: float
    high: float


def trials_by_cell(settings: Settings, records: Iterable[TrialRecord]) -> dict[Cell, int]:
    """Return how many trials of the search have a score, for each cell of the study."""
    known = list(records)
    return {
        cell: tried(r for r in known if Cell.of(r.config) == cell) for cell in all_cells(settings)
    }


def hardly_tuned(settings: Settings, records: Iterable[TrialRecord]) -> dict[Cell, int]:
    """Return the cells with fewer trials than tuning takes, and their numbers of trials.

    A probe needs one trial, and a cell no more trials than it has configurations.
    """
    needed = {mode: _needed(settings, mode) for mode in settings.mode}
    return {
        cell: trials
        for cell, trials in trials_by_cell(settings, records).items()
        if trials < needed[cell.mode] and cell.mode != "probe"
    }


def untried(settings: Settings, records: Iterable[TrialRecord]) -> dict[Mode, int]:
    """Return the modes of which no trial has run, and how many were to.

    A `--max-time` that is too short may leave them out. They might be better than the others.
    """
    ran = {r.config.mode for r in records}
    planned = numbers(settings).items()
    return {
        mode: round(sum(n for cell, n in planned if cell.mode == mode))
        for mode in settings.mode
        if mode not in ran
    }


def not_tried(settings: Settings, records: Iterable[TrialRecord]) -> Iterator[str]:
    """Yield a sentence on each mode that is `untried`."""
    for mode, n in untried(settings, records).items():
        none = f"none of its {n} trials has run" if n > 1 else "its one trial has not run"
        none = "no trial of it has run" if settings.design == "joint" else none
        yield capitalize(f"{MODE_WORDS[mode]} has not been tried: {none}.")


def tuning_doubts(
    settings: Settings, records: Iterable[TrialRecord], best: Mapping[Cell, float | None]
) -> dict[Cell, str]:
    """Return why cells may be worse than their mode is; `best` are their best learning rates."""
    wider = wider_rates(settings, best)
    ends = [cell for found in wider for cell, _ in found.at_an_end]
    few = hardly_tuned(settings, records)
    return dict.fromkeys(ends, "the best learning rate lies at an end of its range") | {
        cell: f"it had too few trials ({trials})" for cell, trials in few.items()
    }


def missing_trials(settings: Settings, records: Sequence[TrialRecord]) -> int | None:
    """Return how many trials `--extend` is to add, so that no cell is hardly tuned any more.

    It gives all cells that are tuned the same number, and those that failed have had theirs. None
    if there is no such cell, or if one search of all cells spends trials where it likes.
    """
    few = hardly_tuned(settings, records)
    if not few or settings.design == "joint":
        return None
    drawn = Counter(Cell.of(r.config) for r in records if r.kind == "search")
    each = max(_needed(settings, cell.mode) + drawn[cell] - scored for cell, scored in few.items())
    cells = all_cells(settings)
    tuned = [cell for cell in cells if cell.mode != "probe"]
    # A probe of an earlier version may have had more than its one.
    return max(1, each * len(tuned) + len(cells) - len(tuned) - drawn.total())


def effort(
    settings: Settings, records: Sequence[TrialRecord], confirm_seeds: Collection[int]
) -> str:
    """Say how many trials and seeds each cell had, and which cells had too few.

    `records` are the study's; `confirm_seeds` is how many have a result in each confirmed cell.
    """
    counts = trials_by_cell(settings, records)
    tuned = {cell: trials for cell, trials in counts.items() if cell.mode != "probe"}
    solved = [trials for cell, trials in counts.items() if cell.mode == "probe"]
    probes = f" ({_PROBES})" if solved and max(solved) <= 1 else ""
    stages = [_in_cells([*(tuned or counts).values()]) + probes]
    choices = Choices(settings, records)
    if numbers := [n for cell in tuned if (n := choices.compared(cell))]:
        low, high = min(numbers), max(numbers)
        best = str(high) if low == high else f"{low} to {high}"
        where = "" if len(numbers) == len(tuned) else f"in {len(numbers)} of {len(tuned)} cells "
        stages.append(f"then {where}the best {best} on {seeds(REPEATS)}")
    stages.append(f"confirmed on {seeds(*confirm_seeds)}" if confirm_seeds else "not confirmed")
    few = hardly_tuned(settings, records)
    return f"Tuning: {', '.join(stages)}{_few(few, len(tuned), bool(solved)) if few else ''}."


def few_steps(records: Iterable[TrialRecord]) -> str | None:
    """Say that networks may not have converged, if some took fewer steps than the default recipe.

    Earlier studies did not record steps, and a trial that was stopped early is no reason.
    """
    steps = {
        r.history[-1].step or 0
        for r in records
        if r.config.mode not in FROZEN and r.status == "done" and r.history and r.history[-1].step
    }
    if not steps or min(steps) >= DEFAULTS["min_steps"]:
        return None
    taken = f"{min(steps)} to {max(steps)}" if len(steps) > 1 else str(min(steps))
    return (
        f"Networks took {taken} steps; with fewer than {DEFAULTS['min_steps']} they may not have "
        "converged, and more may change which mode is best: --min-steps sets this."
    )


def at_an_end(settings: Settings, best: Mapping[Cell, float | None]) -> str | None:
    """Say which of the best learning rates lie at an end of their range, and how to widen it.

    None if there is no such one, or if the rates were no range.
    """
    if not (found := wider_rates(settings, best)):
        return None
    # The other modes need no wider range, or another: one --lr is for all modes of a study.
    solved = len([mode for mode in settings.mode if mode != "probe"])
    flags = [
        f"{f'--mode {wider.mode} ' if solved > 1 else ''}--lr {wider.low:g} {wider.high:g}"
        for wider in found
    ]
    named = [f"{cell_words(cell)} ({lr:.2g})" for wider in found for cell, lr in wider.at_an_end]
    studies = "" if len(found) == 1 else ", one study for each mode"
    return (
        f"The best learning rate lies at an end of its range for {enumerate_words(named)}; "
        f"{enumerate_words(flags)} {'widens' if len(found) == 1 else 'widen'} it{studies}."
    )


def wider_rates(settings: Settings, best: Mapping[Cell, float | None]) -> list[WiderRates]:
    """Return the modes with a best learning rate at an end of their range, each with a wider one.

    It goes on by a factor of 10 there. Empty if the rates were no range.
    """
    if settings.lr and not is_range(settings.lr):
        return []
    found = []
    for mode in (mode for mode in settings.mode if mode != "probe"):
        low, high = settings.lr or LR_RANGES[mode]
        own = [(cell, lr) for cell, lr in best.items() if cell.mode == mode and lr is not None]
        # Where each lies in the log range, from 0 to 1.
        places = [math.log(lr / low) / math.log(high / low) for _, lr in own]
        ends = [one for one, x in zip(own, places, strict=True) if not NEAR <= x <= 1 - NEAR]
        if ends:
            # Rounded, as 1e-05 / 10 is 1.0000000000000002e-06.
            wider_low = float(f"{low / 10:.3g}") if min(places) < NEAR else low
            wider_high = float(f"{high * 10:.3g}") if max(places) > 1 - NEAR else high
            found.append(WiderRates(mode, ends, wider_low, wider_high))
    return found


def _needed(settings: Settings, mode: Mode) -> int:
    factors = [settings.lr or LR_RANGES.get(mode, ()), settings.aux_weight]
    factors += [settings.unfreeze] if mode == "partial" else []
    sizes = [math.inf if is_range(values) else len(values) for values in factors]
    return int(min(TRIALS_PER_CELL, math.prod(sizes)))


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return pluralize(high, "trial") if low == high else f"{low} to {pluralize(high, 'trial')}"


def _in_cells(counts: Sequence[int]) -> str:
    return (
        f"{_span(counts)} a cell" if max(counts) else "no trial with a score in the cells to tune"
    )


def _few(few: Mapping[Cell, int], n_cells: int, probes: bool) -> str:
    if len(few) > _MOST_NAMED:
        low, high = min(few.values()), max(few.values())
        span = f"{low} to {high}" if low < high else str(high)
        beside = " beside the probes" if probes else ""
        return f"; {len(few)} of {n_cells} cells{beside} have too few trials ({span})"
    alike: dict[int, list[str]] = {}
    for cell, trials in few.items():
        alike.setdefault(trials, []).append(cell_words(cell))
    told = [
        f"{enumerate_words(named)} {'have' if named[1:] else 'has'} too few trials ({trials})"
        for trials, named in alike.items()
    ]
    return f"; {', '.join(told)}"
