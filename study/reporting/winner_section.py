"""The report on the winner: how it learned, what it gets wrong, whether to believe it."""

import json
from collections.abc import Iterator
from pathlib import Path

from study.analysis.estimates import summarize
from study.analysis.phrases import show_weight
from study.analysis.predictions import (
    Predictions,
    calibration,
    calibration_error,
    confusion,
    most_confused,
    read_predictions,
)
from study.analysis.study_data import StudyData
from study.records.trial_record import TrialRecord
from study.reporting.figures.trial_plots import draw_curves
from study.reporting.figures.winner_plots import draw_confusion, draw_reliability
from study.reporting.label_section import estimate_text
from study.reporting.page import Code, Gallery, Painter, Part, Picture, Section, Table, Words, embed
from tl_core.text import pluralize

SPLITS = {"test": "test", "val": "validation"}


def winner_section(findings: StudyData, painter: Painter) -> Section:
    """The winner's configuration, curves, confusion, calibration and surest mistakes."""
    winner = findings.winner
    if winner is None:
        return Section("The winner", [Words("No trial has run to its end, so there is none.")])
    parts = [*_introduction(findings, winner, painter)]
    if findings.model:
        parts += _model_parts(findings, findings.model, painter)
    else:
        parts.append(
            Words(
                "The winner's model was not kept, as the study was stopped before that: there are "
                "no predictions to show confusion, calibration and mistakes of."
            )
        )
    return Section("The winner", parts)


def _introduction(findings: StudyData, winner: TrialRecord, painter: Painter) -> Iterator[Part]:
    c, metric = winner.config, findings.settings.metric
    what = (
        f"{c.mode} at train_ratio {c.train_ratio:g}, lr {c.lr:.3g}, aux_weight "
        f"{show_weight(c.aux_weight, '.3g')}"
    )
    text = f"Trial {winner.trial}: {what}; {metric} {winner.value(metric):.4f}."
    for cell in summarize(findings.confirmed):
        if cell.source == winner.trial and cell.borrowed_from is None:
            text += f" On fresh seeds, test accuracy {estimate_text(cell.scores['test_accuracy'])}."
    yield Words(text)
    over = f", mean of {c.seeds} seeds" if c.seeds > 1 else ""
    yield painter.keep(
        "curves",
        draw_curves(winner, f"{findings.subject}: {what}"),
        f"The winner's training with {c.backbone}{over}. Training accuracy above validation "
        "accuracy is overfitting; a loss still falling at the end asks for more --epochs.",
    )


def _model_parts(findings: StudyData, folder: Path, painter: Painter) -> Iterator[Part]:
    about = json.loads((folder / "model.json").read_text())
    predictions = read_predictions(folder, about["classes"])
    split = SPLITS[predictions.split]
    yield Words(
        f"The model that was kept (seed {about['config']['seed']}) is right on "
        f"{predictions.right.mean():.1%} of the {len(predictions.labels)} {split} images. "
        "To use it:"
    )
    yield Code(f"python study/predict.py {folder} IMAGE...")
    yield from _confusion_parts(findings, painter, predictions, split)
    bins = calibration(predictions)
    error = calibration_error(bins)
    yield painter.keep(
        "calibration",
        draw_reliability(bins, error, f"{findings.subject}\nthe winner's calibration"),
        f"Can the winner's confidence be believed? {findings.settings.backbone} on "
        f"{len(predictions.labels)} {split} images in {pluralize(len(bins), 'bin')} of confidence "
        "that hold any, with Wilson's 95 % intervals. Below the diagonal it is surer than it is "
        f"right. The expected calibration error, {error:.3f}, is the mean distance from the "
        "diagonal (Guo et al., ICML 2017); few images in a bin make it look larger than it is.",
    )
    yield _mistakes(folder, predictions)


def _confusion_parts(
    findings: StudyData, painter: Painter, predictions: Predictions, split: str
) -> Iterator[Part]:
    found = confusion(predictions)
    folded = len(found.names) != len(predictions.classes)
    which = "the classes with most mistakes, the others as one" if folded else "all classes"
    yield painter.keep(
        "confusion",
        draw_confusion(found, f"{findings.subject}\nthe winner's {split} images by class"),
        f"Rows are true classes, columns what {findings.settings.backbone} said; {which}. Right "
        "answers are on the diagonal; the darker a cell, the larger its share of its row.",
    )
    if len(predictions.classes) > 2 and (pairs := most_confused(predictions)):
        yield Table(
            ["true class", "taken for", "images", "share of the class"],
            [[p.true, p.predicted, str(p.count), f"{p.share:.0%}"] for p in pairs],
            "Most frequent mistakes.",
        )


def _mistakes(folder: Path, predictions: Predictions) -> Part:
    shown = [(name, i) for i, name in enumerate(predictions.pictures) if name]
    if not shown:
        return Words("It makes no mistake on these images, so there is no gallery of them.")
    return Gallery(
        [_photo(_within(folder, name), predictions, i) for name, i in sorted(shown)],
        f"The mistakes that it was surest of, {len(shown)} of {(~predictions.right).sum()}: look "
        "for wrong labels, for several things in one picture, and for what the pictures share.",
    )


def _within(folder: Path, name: str) -> Path:
    """A file of the folder; the page is sent around, so no other picture may get into it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"predictions.csv: {name!r} lies outside of {folder}")
    return path


def _photo(path: Path, predictions: Predictions, i: int) -> Picture:
    true, said = (predictions.classes[k[i]] for k in (predictions.labels, predictions.predicted))
    text = f"{said} ({predictions.confidence[i]:.3f}), labelled {true}: {predictions.images[i]}"
    return Picture(embed(path), text, width=2)
