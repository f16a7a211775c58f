"""What to do, in a few sentences: the winner, what to expect, what is cheaper, what labels buy."""

from collections.abc import Sequence

from study.analysis.comparisons import Difference
from study.analysis.estimates import CellSummary, score_of
from study.analysis.extrapolation import TIMES
from study.analysis.study_data import StudyData
from study.answers.imbalance import LOG_LOSS, decisive, label_score
from study.answers.labels import with_fewer
from study.answers.limits import chance_sentence
from study.answers.phrases import (
    MODE_WORDS,
    SHOWN_GAIN,
    at_rate,
    capitalize,
    chosen_among,
    enumerate_words,
    is_share,
    of_given_part,
    on_new,
    score_words,
    seeds,
    share,
    show_score,
    show_size,
    show_weight,
    test_images,
)
from study.answers.tuning import hardly_tuned, untried
from study.intervals.estimate import Estimate
from study.search.cells import Cell
from study.search.short_sweeps import seen_in_steps
from tl_core.config import FROZEN
from tl_core.text import pluralize

_CHEAPER = 1.5
"""A mode that takes this many times less work is called cheaper."""
_MOST_NAMED = 2
"""Modes that had too few trials are named if they are no more."""
_WIDE = 0.2
"""A share whose interval is wider says little, as with few test images."""


def recommendation(data: StudyData) -> str:
    """Return what to do; nothing if no cell is confirmed."""
    best = data.winning_cell
    if best is None:
        return ""
    chance = chance_sentence(data, best)
    parts = [
        _provisional(data, best),
        chance,
        f"{'The best found is' if chance else 'Use'} {_configuration(data, best)}, with "
        f"{share(best.train_ratio)} of the images for training.",
        with_fewer(best, data.findings, data.settings.metric),
        _expected(best, decisive(data.cells, data.settings.metric)),
        chosen_among(len(data.cells)),
        _cheaper(data, best),
        _more_labels(data, best),
    ]
    text = " ".join(filter(None, parts))
    return of_given_part(text) if data.is_split else text


def _configuration(data: StudyData, best: CellSummary) -> str:
    """Name the winner's mode and its factors, as far as the study had a choice.

    The auxiliary weight changes nothing in a frozen mode, whose heads share no weights.
    """
    mode = MODE_WORDS[best.mode]
    source = next((r.config for r in data.records if r.trial == best.source), None)
    if source and source.unfreeze and len(data.settings.unfreeze) > 1:
        mode += f" of the last {pluralize(source.unfreeze, 'stage')}"
    given = f"{mode}{at_rate(best.lr)}"
    if best.mode in FROZEN or data.settings.aux_weight == (0.0,):
        return given
    if best.aux_weight == 0:
        return f"{given} and without the auxiliary task"
    return f"{given} and auxiliary weight {show_weight(best.aux_weight, '.2g')}"


def _provisional(data: StudyData, best: CellSummary) -> str | None:
    """Say that cells are not confirmed, or not chosen in yet, as in a study that was stopped.

    Or that rivals of the winner had too few trials: tuned, they might be better.
    """
    missing = data.choices.unconfirmed
    cells = pluralize(len(missing), "cell is", "cells are")
    why = [f"{cells} not confirmed on all seeds yet"] if missing else []
    if n := len(_uncompared(data) - {*missing}):
        cells = pluralize(n, "cell")
        why.append(f"in {cells} the best configurations are not compared on further seeds yet")
    missed = untried(data.settings, data.records)
    if missed:
        names = enumerate_words([MODE_WORDS[mode] for mode in missed])
        why.append(f"{names} {'has' if len(missed) == 1 else 'have'} not been tried")
    few = [cell.mode for cell in hardly_tuned(data.settings, data.records)
           if cell.train_ratio == best.train_ratio and cell.mode not in missed]  # fmt: skip
    if {*few} - {best.mode}:
        which, modes = enumerate_words([MODE_WORDS[mode] for mode in few]), data.settings.mode
        shown = which if len(few) <= _MOST_NAMED else f"{len(few)} of {len(modes)} modes"
        had = "no mode had enough" if len(few) == len(modes) else f"{shown} had too few"
        why.append(f"{had} trials to be tuned")
    return f"This is provisional: {', and '.join(why)}." if why else None


def _uncompared(data: StudyData) -> set[Cell]:
    """The cells with repeats that have not ended."""
    repeats = (config for _, config in data.choices.repeated())
    return {Cell.of(config) for config in repeats if not data.choices.ended("repeat", config)}


def _expected(best: CellSummary, scores: Sequence[str]) -> str:
    e = best.scores[scores[0]]
    shown = {score_words(score): show_score(score, best.scores[score]) for score in scores}
    if e.images is None:
        levels = [f"{name} on these test images is {value}" for name, value in shown.items()]
        nothing = " All test images are of one group, so how it does on photos of new groups is "
        nothing += "unknown, and no mode is shown to be better than another."
        return f"Its {' and its '.join(levels)}.{nothing * e.one_group}"
    levels = [f"{'an' if name[0] in 'aA' else 'a'} {name} of {x}" for name, x in shown.items()]
    alone = ", for this one network" if e.n == 1 else ""
    expected = f"Expect {enumerate_words(levels)} {on_new(e)}{alone}."
    shares = {score: best.scores[score] for score in scores if is_share(score)}
    wide = [s for s, x in shares.items() if (x.high or 0.0) - (x.low or 0.0) > _WIDE]
    if not wide:
        return expected
    which = ("The first" if wide[0] == scores[0] else "The second") if scores[1:] else "This"
    intervals = "Both are wide intervals" if wide[1:] else f"{which} is a wide interval"
    return f"{expected} {intervals}, from {seeds(e.n)} and {test_images(shares[wide[0]])}."


def _cheaper(data: StudyData, best: CellSummary) -> str | None:
    """Compare a winner that is no frozen mode with the frozen ones at its ratio.

    The one ranked best is named, with the others that are not shown to be behind.
    """
    rivals = [c for c in data.ranking if c.train_ratio == best.train_ratio and c.mode in FROZEN]
    if best.mode in FROZEN or not rivals:
        return None
    scores = decisive(data.cells, data.settings.metric)
    alike: dict[str, list[str]] = {}
    for rival in rivals:
        each = (data.findings.difference(best.cell, rival, s) for s in (*scores, LOG_LOSS))
        found, *others = each
        second = next((d for d in others if d and d.verdict != "cannot tell"), None)
        if found is None or (rival != rivals[0] and found.verdict == "better"):
            continue
        said = _lead(found, second, several=len(scores) > 1) + _cost(data, best.cell, rival)
        alike.setdefault(said, []).append(MODE_WORDS[rival.mode])
    sentences = (
        f"{capitalize(enumerate_words(modes))} {'are' if modes[1:] else 'is'} {said}."
        for said, modes in alike.items()
    )
    return " ".join(sentences)


def _cost(data: StudyData, winner: Cell, rival: Cell) -> str:
    cost, base = _passes(data, winner), _passes(data, rival)
    if not (cost and base):
        return ", and cheaper to train"
    times = cost / base
    about = f", and about {float(f'{times:.1g}'):,g} times cheaper to train"
    return about if times >= _CHEAPER else ""


def _lead(d: Difference, second: Difference | None, several: bool) -> str:
    """Say where a rival is by the first score or, if that can't tell, by `second`, which can.

    `several` is whether the first is named, as the answer has several scores.
    """
    by = f" by {score_words(d.score)}"
    if d.estimate.n == 1:
        return f"{_gap(d)}{by if several else ''} with this one seed"
    if d.verdict == "cannot tell" and second:
        where = "behind" if second.verdict == "better" else "ahead"
        return f"not distinguishable from it{by}, {where} by {score_words(second.score)}"
    if d.verdict == "cannot tell":
        return f"not distinguishable from it{by if several else ''}"
    return f"{_gap(d)}{by if several else ''}"


def _gap(d: Difference) -> str:
    """How far the second of two modes is behind or ahead, whether that shows or not."""
    gap = d.estimate.mean
    ahead = (gap > 0) == (score_of(d.score).better == "lower")
    return f"{show_size(d.score, gap)} {'ahead' if ahead else 'behind'}" if gap else "as good"


def _passes(data: StudyData, cell: Cell) -> int | None:
    """Images that pass through the network in one training of a cell: work, not time.

    Seconds would depend on what else the machine does. A step takes three passes, there and twice
    as much back. Heads on features need those of all images that teach them, and of their mirror
    images if training sees these. Test images are no part of it: only a trial that confirms reads
    them, once. None if a part of the network learns, whose share of the work is not known.
    """
    own = (r for r in data.records if r.kind == "confirm" and Cell.of(r.config) == cell)
    config = record.config if (record := next(own, None)) else None
    if config is None or config.mode == "partial":
        return None
    n_train, n_val = data.split_sizes(cell.train_ratio)
    n_taught = n_train + data.taught_elsewhere(n_train) * (config.aux_on == "all")
    frozen = 0
    if config.mode in (*FROZEN, "lp_ft"):
        # A probe solves the auxiliary task as well, whatever weight follows.
        solved = config.mode != "freeze" or config.aux_weight != 0
        frozen = (n_taught if solved else n_train) * (1 + config.hflip) + n_val
    if config.mode in FROZEN:
        return frozen
    return frozen + 3 * seen_in_steps(config, n_train, n_taught) + config.epochs * n_val


def _more_labels(data: StudyData, winner: CellSummary) -> str | None:
    score, name = label_score(data.cells, data.settings.metric)
    if (found := data.findings.beyond(winner.mode, score)) is None:
        return None
    gain: Estimate = found.gains[TIMES[0]]
    than = of = ""
    if found.train_ratio != winner.train_ratio:  # The level that was named is another.
        most = Cell(winner.mode, found.train_ratio)
        level = next(c for c in data.cells if c.cell == most).scores[score].mean
        than = f" than {share(found.train_ratio)} of the images"
        of = f" of {share(found.train_ratio)}, for which its {score_words(score)} is"
        of += f" {100 * level:.1f} %,"
    if found.flat:
        where = f" in {name}" if name else ""
        return f"More labels{than} are not shown to help further{where}."
    what = f" of {name}" if name else ""
    shown = f"about {100 * gain.mean:+.1f}" if gain.mean >= SHOWN_GAIN else "less than 0.1"
    return f"With twice the labels{of} expect {shown} points{what}."
