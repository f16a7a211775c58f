"""The study's answer in a few sentences, made from the numbers."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import fmean

from study.analysis.findings import Findings
from study.analysis.study_data import StudyData, of_classification
from study.answers import auxiliary
from study.answers.imbalance import imbalance, weakest
from study.answers.labels import label_gain
from study.answers.phrases import (
    covers,
    enumerate_words,
    of_given_part,
    share,
)
from study.answers.sentences import best_mode, other_ratios
from study.answers.tuning import (
    at_an_end,
    effort,
    few_steps,
    hardly_tuned,
    not_tried,
    tuning_doubts,
    untried,
)
from study.answers.unconfirmed import best_at, earlier, no_longer_chosen, unconfirmed_answer
from study.config.settings import Settings
from study.records.trial_record import TrialRecord, best_of, modes_of
from study.search.cells import Cell
from study.search.choosing import Choices
from study.search.confirmation import plan


def answer_of(data: StudyData) -> tuple[str, ...]:
    """Return the sentences on a study: those of `answer`, and after three those on its images."""
    subject, settings = f"{data.dataset} ({data.images:,} images)", data.settings
    subject += f" with {settings.backbone}"
    left = settings.confirm and bool(plan(settings, data.records))
    ranking = {cell: data.choices.mean_on_fresh_seeds(cell) for cell in data.ranking}
    facts = (subject, settings, data.records, data.findings, ranking)
    found = answer(*facts, unfinished=left, among=among(data.choices))
    best = data.winning_cell or best_of(data.records, settings.metric)
    uneven = imbalance(data.classes.values(), settings, best, weakest(data)) if best else None
    whole = (*found[:3], *filter(None, (uneven, shares_taken(data))), *found[3:])
    return tuple(map(of_given_part, whole)) if data.is_split else whole


def shares_taken(data: StudyData) -> str | None:
    """Say which shares of the images train, where whole groups miss those that were asked for.

    None if there are no groups, or if the shares are off by no more than rounding in each class.
    """
    if not data.study["data"].get("groups_by"):
        return None
    base, rounding = data.ratio_base, len(data.classes) / 2
    taken = {ratio: data.labels(ratio) for ratio in data.settings.train_ratio}
    told = [
        f"{share(ratio)} of the images is {100 * n / base:.3g} %"
        for ratio, n in sorted(taken.items())
        if abs(n - ratio * base) > rounding
    ]
    mean = "Training images are whole groups, so on the mean over seeds"
    return f"{mean} {enumerate_words(told)}." if told else None


def answer(
    subject: str,
    settings: Settings,
    records: Sequence[TrialRecord],
    findings: Findings,
    ranking: Mapping[Cell, float],
    unfinished: bool = False,
    among: str = "",
) -> tuple[str, ...]:
    """Return the sentences.

    The first three are the answers: the best mode; the gain from labels, with what more labels than
    the study's would buy, if its cells tell; the auxiliary task's effect. The others say how sure
    they are: how the cells were tuned and, if it is so, what was confirmed and is no longer chosen,
    learning rates at an end of their range, and that networks took few steps.
    Without confirming trials, they use validation scores of the search and say so.

    Args:
        subject: data and backbone.
        settings: of the study.
        records: its trials.
        findings: the test scores of those that confirm.
        ranking: the confirmed cells, the winner first, with the means of the metric that ranked
            them. Test scores are not used: the best of several would look better than it is.
        unfinished: it has trials left to run after the search.
        among: which cells the winner is the best of, if not of all.
    """
    if ranking:
        where = f"{subject}, {among}" if among else subject
        found = _confirmed(where, settings, records, findings, ranking, unfinished)
    elif first := best_of(records, settings.metric):
        found = unconfirmed_answer(subject, settings, records, first, unfinished)
    else:
        return (
            f"There is no answer on {subject}, because no trial finished.",
            "The gain from more labels is unknown.",
            "The effect of the auxiliary task is unknown.",
        )
    n_seeds = [len(s.seeds) for s in findings.cells]
    about = covers([s.scores["test_accuracy"] for s in findings.cells]) if ranking else None
    rates = best_rates(settings, records, findings)
    notes = (
        no_longer_chosen(settings, records),
        at_an_end(settings, rates),
        few_steps(records),
    )
    found = (" ".join([*not_tried(settings, records), found[0]]), *found[1:])
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
    bests = {c: best_at(records, settings.metric, c) for c in _cells(records) if c not in few}
    return {cell: best.config.lr for cell, best in bests.items() if best}


def among(choices: Choices) -> str:
    """Say which cells the winner is the best of, as `among ...`; nothing if of all.

    A mean that lacks a seed is not compared with one that has all, however good it is. Nor are
    those of configurations that were confirmed and are no longer chosen.
    """
    ranks = [choices.ranks[cell] for cell in choices.ranking]
    if ranks and ranks[0].cost > min(rank.cost for rank in ranks):
        return f"among the cells that finished on {'the most' if ranks[0].failed else 'all'} seeds"
    metric = choices.settings.metric
    before = [fmean(r.cost(metric) for r in trials) for trials in earlier(choices)]
    if ranks and min(before, default=inf) < ranks[0].cost:
        confirmed = "confirmed " if choices.unconfirmed else ""
        return f"among the {confirmed}configurations that are chosen now"
    return "among the confirmed results" if choices.unconfirmed else ""


def _confirmed(
    subject: str,
    settings: Settings,
    records: Sequence[TrialRecord],
    findings: Findings,
    ranking: Mapping[Cell, float],
    unfinished: bool,
) -> tuple[str, str, str]:
    winner = next(iter(ranking))
    best = next(s for s in findings.cells if s.cell == winner)
    tried = modes_of(records)
    arms = findings.effects(of_classification(settings.metric), settings.task)
    few, metric = hardly_tuned(settings, records), settings.metric
    waiting = Choices(settings, records).unconfirmed if unfinished else []
    first = best_mode(
        subject,
        best,
        tried,
        findings,
        few,
        metric,
        waiting,
        ranking,
        bool(untried(settings, records)),
    )
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


def _cells(records: Iterable[TrialRecord]) -> list[Cell]:
    return list(dict.fromkeys(Cell.of(r.config) for r in records))
