"""The report on the winner: its training, its errors by class, and its calibration."""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from study.analysis.estimates import by_cell
from study.analysis.images.calibration import calibration_error
from study.analysis.images.predictions import (
    Predictions,
    calibration,
    confusion,
    most_confused,
    read_predictions,
)
from study.analysis.images.recall import Recall, recalls
from study.analysis.study_data import StudyData
from study.answers.answer import among
from study.answers.phrases import on_new, show_number, show_rate, show_weight
from study.config.values import show_folder
from study.records.study_folder import RECALL
from study.records.trial_record import TrialRecord
from study.reporting.comparison_tables import estimate_text, interval_text
from study.reporting.figures.trial_plots import draw_curves
from study.reporting.figures.winner_plots import draw_confusion, draw_reliability
from study.reporting.page import (
    Code,
    FigureWriter,
    Gallery,
    Paragraph,
    Part,
    Photo,
    Table,
    embed,
    isolated,
)
from tl_core.inference.model_card import CARD
from tl_core.text import pluralize
from tl_core.training.schedule import Budget

_MOST_RECALLS = 30
"""Classes in the table of recall, at most."""


def winner_parts(data: StudyData, figures: FigureWriter) -> Iterator[Part]:
    """Yield the winner's configuration, curves, confusion, recall, calibration, and errors."""
    winner, metric = data.winner, data.settings.metric
    if winner is None:
        yield Paragraph("There is no winner, because no trial has finished.")
        return
    c = winner.config
    configuration = _configuration(winner)
    source = f", from trial {winner.source} of the search" if winner.source is not None else ""
    value = show_number(winner.value(metric))
    text = f"Trial {winner.trial}{source}: {configuration}; {metric} {value}"
    yield Paragraph(f"{text}{_on_fresh_seeds(data)}.")
    if c.mode == "probe":
        yield Paragraph("A probe is solved at once, so it has no curves of training.")
    else:
        seeds = f"mean of {c.seeds} seeds" if c.seeds > 1 else f"seed {c.seed}"
        n_train, _ = data.split_sizes(c.train_ratio)
        longer = "--min-steps" if Budget.of(c, n_train).passes > c.epochs else "--epochs"
        yield figures.add(
            "curves",
            draw_curves(winner, f"{data.subject}: {configuration}"),
            f"The winner's training with {c.backbone}, {seeds}. If the validation "
            "accuracy falls while the training accuracy rises, it overfits; if the loss still "
            f"falls at the end, use more {longer}.",
        )
    if data.model:
        yield from _model_parts(data, data.model, figures)
    else:
        yield from _recall_parts(data)
        yield Paragraph(
            "The winner's model was not kept: the study was stopped before, or an earlier version "
            "of tl-study has chosen another winner. So there are no predictions, and no confusion, "
            "calibration and errors."
        )


def _configuration(record: TrialRecord) -> str:
    c = record.config
    factors = [f"{c.mode} at train_ratio {c.train_ratio:g}", show_rate(record, ".3g")]
    factors += [] if c.unfreeze is None else [f"unfreeze {c.unfreeze}"]
    factors += [] if c.mode == "probe" else [f"aux_weight {show_weight(c.aux_weight, '.3g')}"]
    return ", ".join(filter(None, factors))


def _on_fresh_seeds(data: StudyData) -> str:
    """The winner's mean on validation, which has chosen it, and on the test set."""
    cell = data.winning_cell
    if cell is None:
        return ""
    mean = data.choices.mean_on_fresh_seeds(cell.cell)
    return (
        f". Over {pluralize(len(cell.seeds), 'fresh seed')}, mean {data.settings.metric} "
        f"{show_number(mean)}, the best {among(data.choices) or 'of all cells'}, and test accuracy "
        f"{estimate_text(cell.scores['test_accuracy'])}"
    )


def _model_parts(data: StudyData, folder: Path, figures: FigureWriter) -> Iterator[Part]:
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    predictions = read_predictions(folder, card["classes"])
    n, split = len(predictions.labels), {"test": "test", "val": "validation"}[predictions.split]
    yield Paragraph(
        f"The kept model (seed {card['config']['seed']}) is right on "
        f"{100 * predictions.right.mean():.1f} % of the {n} {split} images. To use it:"
    )
    yield Code(shlex.join(["python", "study/predict.py", show_folder(folder), "IMAGE..."]))
    found = confusion(predictions)
    all_shown = len(found.names) == len(predictions.classes)
    classes = "all classes" if all_shown else "the classes with most errors, the others as one"
    yield figures.add(
        "confusion",
        draw_confusion(found, f"{data.subject}\nthe winner's {split} images by class"),
        f"Rows are true classes, columns are the predictions of {data.settings.backbone}; "
        f"{classes}. Right answers are on the diagonal. A darker cell is a larger share of its "
        "row.",
    )
    if len(predictions.classes) > 2 and (pairs := most_confused(predictions)):
        yield Table(
            ["true class", "predicted as", "images", "share of the class"],
            [[p.true, p.predicted, str(p.count), f"{100 * p.share:.0f} %"] for p in pairs],
            "Most frequent errors.",
        )
    yield from _recall_parts(data)
    bins = calibration(predictions)
    error = calibration_error(predictions.confidence, predictions.right)
    yield figures.add(
        "calibration",
        draw_reliability(bins, error, f"{data.subject}\nthe winner's calibration"),
        f"Calibration of {data.settings.backbone} on {n} {split} images: accuracy against "
        f"confidence in {pluralize(len(bins), 'non-empty bin')}, with Wilson's 95 % intervals. "
        "Below the diagonal the model is more confident than accurate. The expected calibration "
        f"error, {error:.3f}, is the mean distance from the diagonal (Guo et al., ICML 2017); few "
        f"images in a bin make it look larger than it is.{_calibration_of_mode(data)}",
    )
    yield _errors(folder, predictions)


def _calibration_of_mode(data: StudyData) -> str:
    """The calibration of the winner's cell on all its seeds, without the bias of few images."""
    found = data.winning_cell.scores.get("test_calibration_mse") if data.winning_cell else None
    if found is None:
        return ""
    # The root of a mean, and of its interval; an unbiased mean square may be below zero.
    mean = max(found.mean, 0.0) ** 0.5
    low, high = (None if x is None else max(x, 0.0) ** 0.5 for x in (found.low, found.high))
    where = on_new(found) if found.images else "on these test images"
    cut = "; the estimate is below 0, and cut there, so the distance need not be 0"
    return (
        f" Over {pluralize(found.n, 'fresh seed')}, without this bias, the root mean square "
        f"distance is {mean:.3f} {interval_text(low, high)} {where}{cut if found.mean < 0 else ''}."
    )


def _recall_parts(data: StudyData) -> Iterator[Part]:
    if cell := data.winning_cell:
        trials = list(by_cell(data.confirmed)[cell.cell].values())
        if found := recalls(trials, [*data.classes]):
            yield recall_table(found, len(trials))


def recall_table(found: Sequence[Recall], seeds: int) -> Table:
    """Return the recall of each class over so many seeds, the worst first."""
    worst = sorted(found, key=lambda r: r.mean)[:_MOST_RECALLS]
    about = f"mean of {seeds} seeds" if seeds > 1 else "one seed, so it is about this network alone"
    more = len(found) - len(worst)
    rest = f" {pluralize(more, 'class', 'classes')} with a better recall: {RECALL} has all."
    return Table(
        ["class", "test images", "recall", "95 % interval"],
        [
            [isolated(r.name), str(r.images), f"{r.mean:.3f}", interval_text(r.low, r.high)]
            for r in worst
        ],
        "Recall of each class, the worst first: which share of its test images the winner "
        f"recognises ({about}). Wilson's interval is on new photos: it counts no image more than "
        "once, however many seeds have seen it. The worst of many classes are partly "
        f"so by chance, which it does not allow for.{rest if more else ''}",
    )


def _errors(folder: Path, predictions: Predictions) -> Part:
    shown = [(name, i) for i, name in enumerate(predictions.pictures) if name]
    if not shown:
        return Paragraph("The model makes no error on these images.")
    return Gallery(
        [_photo(folder, name, predictions, i) for name, i in sorted(shown)],
        f"The most confident errors, {len(shown)} of {(~predictions.right).sum()}: look for wrong "
        "labels, for several objects in one picture, and for what the pictures have in common.",
    )


def _photo(folder: Path, name: str, predictions: Predictions, i: int) -> Photo:
    path = folder / name
    # People share the page, so it may contain no picture from outside the folder.
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"predictions.csv: {name!r} lies outside of {folder}")
    true, predicted = (
        isolated(predictions.classes[k[i]]) for k in (predictions.labels, predictions.predicted)
    )
    confidence = f"{predictions.confidence[i]:.3f}"
    image = "/".join(map(isolated, predictions.images[i].split("/")))
    text = f"{predicted} ({confidence}), labelled {true}: {image}"
    return Photo(embed(path), text)
