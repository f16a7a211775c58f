"""The answer of a study that has not confirmed: by validation scores of one or a few seeds."""

from collections.abc import Sequence
from math import inf
from statistics import fmean

from study.analysis.study_data import asked_score
from study.answers import auxiliary
from study.answers.phrases import (
    MODE_WORDS,
    at_rate,
    cell_words,
    enumerate_words,
    one_ratio,
    score_words,
    seeds,
    share,
    show_value,
)
from study.config.settings import Settings
from study.records.trial_record import TrialRecord, best_of, modes_of
from study.search.cells import Cell
from study.search.choosing import REPEATS, Choices, on_seed, repeats_of
from tl_core.config import MODES, Metric, Mode, TrialConfig, sign

_MOST_NAMED = 3
"""Configurations that a sentence names, at most."""


def unconfirmed_answer(
    subject: str,
    settings: Settings,
    records: Sequence[TrialRecord],
    first: TrialRecord,
    unfinished: bool,
) -> tuple[str, str, str]:
    """Return the first three sentences of `answer`; `first` is the best trial of the search."""
    found = _best_mode(subject, settings, first, records)
    return (
        f"{found} {_by_repeats(settings, records, first)}".rstrip(),
        _label_gain(settings.metric, first.config.mode, records),
        auxiliary.no_auxiliary_effect(
            settings.aux_weight,
            first.config.mode,
            first.config.aux_weight,
            modes_of(records),
            settings.task,
            unfinished,
        ),
    )


def _best_mode(
    subject: str, settings: Settings, best: TrialRecord, records: Sequence[TrialRecord]
) -> str:
    """Compare the best trial of the search with the best of each other mode at its ratio."""
    c, metric = best.config, settings.metric
    tried = {r.config.mode for r in records} - {c.mode}
    others = [
        f"{_shown(best_at(records, metric, Cell(mode, c.train_ratio)), 'val_accuracy')} for "
        f"{MODE_WORDS[mode]}"
        for mode in MODES
        if mode in tried
    ]
    value = f" ({_shown(best, metric)})" if asked_score(metric) else ""
    only = "tried" if len(settings.mode) == 1 else "with results so far"
    return (
        f"Not confirmed on fresh seeds: on {subject}, {MODE_WORDS[c.mode]}"
        f"{'' if others else f', the only mode {only},'} scored best in the search by validation "
        f"{score_words(metric)}{value}{at_rate(c.lr)}, with a validation accuracy (no interval, "
        f"from {seeds(c.seeds)}) of {_shown(best, 'val_accuracy')} with {share(c.train_ratio)} of "
        "the images for training"
        f"{f', against {enumerate_words(others)}' if others else ''}."
    )


def _by_repeats(settings: Settings, records: Sequence[TrialRecord], first: TrialRecord) -> str:
    """Say which configuration is best on the seeds of the repeats, once all of them have ended.

    The best single score of many is the luckiest; these means choose.
    """
    choices, metric = Choices(settings, records), settings.metric
    repeats = [*choices.repeated()]
    if not all(choices.ended("repeat", config) for _, config in repeats):
        return ""
    sources = {source.trial: source.config for source, _ in repeats}
    ranks = {n: choices.rank("repeat", repeats_of(settings, c)) for n, c in sources.items()}
    shown = {n: show_value(metric, sign(metric) * r.cost) for n, r in ranks.items() if r.cost < inf}
    if not shown:
        return ""
    best = min(shown, key=lambda trial: ranks[trial])
    on = f"On {seeds(REPEATS - ranks[best].failed, kind='further')}"
    uneven = any(rank.failed > ranks[best].failed for rank in ranks.values())
    first_of = " of those with the fewest failed seeds, which are placed first" if uneven else ""
    if best == first.trial:
        return f"{on} it has the best mean, too ({shown[best]}){first_of}."
    c = sources[best]
    if first.trial in shown:
        lacks = f" on {REPEATS - ranks[first.trial].failed} of {REPEATS} seeds" if uneven else ""
        other = f"has {shown[first.trial]}{lacks}"
    elif first.trial in ranks:
        other = "failed on each of its further seeds"
    else:
        probe = first.config.mode == "probe"
        why = "a probe tunes itself" if probe else "its cell has no other configuration"
        other = f"is not repeated, as {why}"
    return (
        f"{on}, {MODE_WORDS[c.mode]}{at_rate(c.lr)} (trial {best}) with {share(c.train_ratio)} of "
        f"the images has the best mean {score_words(metric)} ({shown[best]}){first_of}; the best "
        f"of the search (trial {first.trial}) {other}."
    )


def _label_gain(metric: Metric, mode: Mode, records: Sequence[TrialRecord]) -> str:
    """Compare the mode's best trials at its least and most labels; one must have finished.

    That is in accuracy, or in the score that the metric asks for.
    """
    ratios = sorted({r.config.train_ratio for r in records})
    found = [r for ratio in ratios if (r := best_at(records, metric, Cell(mode, ratio)))]
    if len(found) == 1:
        return one_ratio(mode, found[0].config.train_ratio)
    asked = metric if asked_score(metric) else "val_accuracy"
    few, many = (
        f"{_shown(r, asked)} with {share(r.config.train_ratio)}" for r in (found[0], found[-1])
    )
    where = f", in {score_words(asked)}" if asked_score(metric) else ""
    return (
        f"By the same unconfirmed scores, {MODE_WORDS[mode]} goes from {few} of the images to "
        f"{many}{where}; this does not show how many labels can be saved or whether one mode "
        "overtakes another."
    )


def best_at(records: Sequence[TrialRecord], metric: Metric, cell: Cell) -> TrialRecord | None:
    """Return the best trial of a cell in the search."""
    return best_of([r for r in records if Cell.of(r.config) == cell], metric)


def _shown(record: TrialRecord | None, metric: Metric) -> str:
    return show_value(metric, record.value(metric) if record else None)


def earlier(choices: Choices) -> list[list[TrialRecord]]:
    """Return what confirmed configurations that are no longer chosen, as of an extended study.

    A list for each configuration, with a trial for each seed.
    """
    chosen = {on_seed(0, c.config) for c in choices.chosen.values()}
    found: dict[TrialConfig, dict[int, TrialRecord]] = {}
    for r in choices.records:
        if r.kind == "confirm" and r.status == "done" and on_seed(0, r.config) not in chosen:
            found.setdefault(on_seed(0, r.config), {})[r.config.seed] = r
    return [[*trials.values()] for trials in found.values()]


def no_longer_chosen(settings: Settings, records: Sequence[TrialRecord]) -> str | None:
    """Name the configurations that were confirmed and are no longer chosen, with their scores."""
    metric, found = settings.metric, earlier(Choices(settings, records))
    shown = []
    for trials in found[:_MOST_NAMED]:
        value = show_value(metric, fmean(r.value(metric) or 0.0 for r in trials))
        accuracy = show_value("val_accuracy", fmean(r.test["test_accuracy"] for r in trials))
        shown.append(
            f"{cell_words(Cell.of(trials[0].config))}{at_rate(trials[0].config.lr)} (validation "
            f"{score_words(metric)} {value}, test accuracy {accuracy})"
        )
    if more := found[_MOST_NAMED:]:
        shown.append(f"{len(more)} more")
    return f"Confirmed earlier and no longer chosen: {enumerate_words(shown)}." if shown else None
