"""The study's answer in a few sentences, made from the numbers."""

from collections.abc import Iterable, Sequence

from study.analysis.estimates import by_cell
from study.analysis.findings import Findings
from study.analysis.images.recall import Recall, recalls
from study.analysis.study_data import StudyData, asked_score, of_classification
from study.answers import auxiliary
from study.answers.imbalance import imbalance
from study.answers.labels import label_gain
from study.answers.other_ratios import other_ratios
from study.answers.phrases import (
    MODE_WORDS,
    at_rate,
    covers,
    enumerate_words,
    is_share,
    of_given_part,
    one_ratio,
    score_words,
    seeds,
    share,
)
from study.answers.sentences import best_mode
from study.answers.tuning import at_an_end, effort, few_steps, hardly_tuned, tuning_doubts
from study.config.settings import Settings
from study.records.trial_record import TrialRecord, best_of, modes_of
from study.search.cells import Cell
from study.search.choosing import Choices
from study.search.confirmation import plan
from tl_core.config import MODES, Metric, Mode


def answer_of(data: StudyData) -> tuple[str, ...]:
    """Return the sentences on a study: those of `answer`, and after three one on its classes."""
    subject, settings = f"{data.dataset} ({data.images:,} images)", data.settings
    subject += f" with {settings.backbone}"
    left = settings.confirm and bool(plan(settings, data.records))
    facts = (subject, settings, data.records, data.findings, data.ranking)
    found = answer(*facts, unfinished=left, among=among(data.choices))
    best = data.winning_cell or best_of(data.records, settings.metric)
    uneven = imbalance(data.classes.values(), settings, best, _weakest(data)) if best else None
    whole = (*found[:3], *([uneven] if uneven else []), *found[3:])
    return tuple(map(of_given_part, whole)) if data.is_split else whole


def answer(
    subject: str,
    settings: Settings,
    records: Sequence[TrialRecord],
    findings: Findings,
    ranking: Sequence[Cell],
    unfinished: bool = False,
    among: str = "",
) -> tuple[str, ...]:
    """Return the sentences.

    The first three are the answers: the best mode; the gain from labels, with what more labels than
    the study's would buy, if its cells tell; the auxiliary task's effect. The others say how sure
    they are: how the cells were tuned, learning rates at an end of their range, and that networks
    took few steps, if it is so.
    Without confirming trials, they use validation scores of the search and say so.

    Args:
        subject: data and backbone.
        settings: of the study.
        records: its trials.
        findings: the test scores of those that confirm.
        ranking: the confirmed cells, the winner first, by validation. Test scores are not used: the
            best of several test scores would look better than it is.
        unfinished: it has trials left to run after the search.
        among: which cells the winner is the best of, if not of all.
    """
    if ranking:
        where = f"{subject}, {among}" if among else subject
        found = _confirmed(where, settings, records, findings, ranking[0], unfinished)
    elif first := best_of(records, settings.metric):
        found = _unconfirmed(subject, settings, records, first, unfinished)
    else:
        return (
            f"There is no answer on {subject}, because no trial finished.",
            "The gain from more labels is unknown.",
            "The effect of the auxiliary task is unknown.",
        )
    n_seeds = [len(s.seeds) for s in findings.cells]
    about = covers([s.scores["test_accuracy"] for s in findings.cells]) if ranking else None
    rates = best_rates(settings, records, findings)
    notes = (at_an_end(settings, rates), few_steps(records))
    return (*found, *filter(None, (about, effort(settings, records, n_seeds), *notes)))


def best_rates(
    settings: Settings, records: Sequence[TrialRecord], findings: Findings
) -> dict[Cell, float | None]:
    """Return the best learning rate of each cell: of those confirmed, else of the search.

    Cells with too few trials are left out: the best of two may lie anywhere.
    """
    few = hardly_tuned(settings, records)
    if findings.cells:
        own = (s for s in findings.cells if s.borrowed_from is None)
        return {s.cell: s.lr for s in own if s.cell not in few}
    bests = {c: _best_at(records, settings.metric, c) for c in _cells(records) if c not in few}
    return {cell: best.config.lr for cell, best in bests.items() if best}


def _weakest(data: StudyData) -> list[Recall]:
    """The class of which the winner recognises the smallest share, and that of the lowest bound.

    They differ if a class has so few test images that its share says little.
    """
    if data.winning_cell is None:
        return []
    trials = by_cell(data.confirmed)[data.winning_cell.cell]
    found = recalls([*trials.values()], [*data.classes], together=True)
    ends = [min(found, key=lambda r: r.mean), min(found, key=lambda r: r.low)] if found else []
    return list({r.name: r for r in ends}.values())


def among(choices: Choices) -> str:
    """Say which cells the winner is the best of, as `among ...`; nothing if of all.

    A mean that lacks a seed is not compared with one that has all, however good it is.
    """
    ranks = [choices.ranks[cell] for cell in choices.ranking]
    if ranks and ranks[0].cost > min(rank.cost for rank in ranks):
        return f"among the cells that finished on {'the most' if ranks[0].failed else 'all'} seeds"
    return "among the confirmed results" if choices.unconfirmed else ""


def _confirmed(
    subject: str,
    settings: Settings,
    records: Sequence[TrialRecord],
    findings: Findings,
    winner: Cell,
    unfinished: bool,
) -> tuple[str, str, str]:
    best = next(s for s in findings.cells if s.cell == winner)
    tried = modes_of(records)
    arms = findings.effects(of_classification(settings.metric), settings.task)
    few, metric = hardly_tuned(settings, records), settings.metric
    waiting = Choices(settings, records).unconfirmed if unfinished else []
    first = best_mode(subject, best, tried, findings, few, metric, waiting)
    elsewhere = other_ratios(best, findings, few, metric)
    doubts = tuning_doubts(settings, records, best_rates(settings, records, findings))
    return (
        f"{first} {elsewhere}".rstrip(),
        label_gain(best.mode, findings, metric, doubts),
        auxiliary.auxiliary_effect(arms[0], arms[1:])
        if arms
        else auxiliary.no_auxiliary_effect(
            settings.aux_weight, best.mode, best.aux_weight, tried, settings.task, unfinished
        ),
    )


def _unconfirmed(
    subject: str,
    settings: Settings,
    records: Sequence[TrialRecord],
    first: TrialRecord,
    unfinished: bool,
) -> tuple[str, str, str]:
    return (
        _best_mode(subject, settings.metric, first, records),
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


def _cells(records: Iterable[TrialRecord]) -> list[Cell]:
    return list(dict.fromkeys(Cell.of(r.config) for r in records))


def _best_mode(
    subject: str, metric: Metric, best: TrialRecord, records: Sequence[TrialRecord]
) -> str:
    """Compare the best trial of the search with the best of each other mode at its ratio."""
    c = best.config
    tried = {r.config.mode for r in records} - {c.mode}
    others = [
        f"{_shown(_best_at(records, metric, Cell(mode, c.train_ratio)), 'val_accuracy')} for "
        f"{MODE_WORDS[mode]}"
        for mode in MODES
        if mode in tried
    ]
    value = f" ({_shown(best, metric)})" if asked_score(metric) else ""
    return (
        f"Not confirmed on fresh seeds: on {subject}, {MODE_WORDS[c.mode]}"
        f"{'' if others else ', the only mode tried,'} scored best in the search by validation "
        f"{score_words(metric)}{value}{at_rate(c.lr)}, with a validation accuracy (no interval, "
        f"from {seeds(c.seeds)}) of {_shown(best, 'val_accuracy')} with {share(c.train_ratio)} of "
        "the images for training"
        f"{f', against {enumerate_words(others)}' if others else ''}."
    )


def _label_gain(metric: Metric, mode: Mode, records: Sequence[TrialRecord]) -> str:
    """Compare the mode's best trials at its least and most labels; one must have finished.

    That is in accuracy, or in the score that the metric asks for.
    """
    ratios = sorted({r.config.train_ratio for r in records})
    found = [r for ratio in ratios if (r := _best_at(records, metric, Cell(mode, ratio)))]
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


def _best_at(records: Sequence[TrialRecord], metric: Metric, cell: Cell) -> TrialRecord | None:
    return best_of([r for r in records if Cell.of(r.config) == cell], metric)


def _shown(record: TrialRecord | None, metric: Metric) -> str:
    value = record.value(metric) if record else None
    if value is None:
        return "no result"
    return f"{100 * value:.1f} %" if is_share(metric.replace("val_", "test_")) else f"{value:.3f}"
