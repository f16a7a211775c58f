"""The report of a study and its tables, made from the files in its folder."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from study.analysis.extrapolation import TIMES
from study.analysis.study_data import StudyData
from study.analysis.tables import confirm_table, differences_table, recall_table
from study.answers.answer import answer_of, best_rates
from study.answers.imbalance import is_imbalanced, label_score
from study.answers.limits import chance_note, resolution
from study.answers.phrases import MODE_WORDS, SHOWN_GAIN, capitalize
from study.answers.recommendation import recommendation
from study.answers.tuning import few_steps, missing_trials, wider_rates
from study.config.defaults import DEFAULTS, TRIALS_PER_CELL
from study.config.program import command_of
from study.config.settings import Settings
from study.config.validate import unread_by
from study.records.ledger import ENDINGS, OUT_OF_TIME
from study.records.study_folder import (
    CONFIRM,
    DIFFERENCES,
    FIGURES,
    PAGE,
    RECALL,
    resume_command,
    study_words,
)
from study.reporting.factor_section import aux_weight_parts, importance_parts, learning_rate_parts
from study.reporting.figures.fonts import fonts_for
from study.reporting.label_section import label_parts
from study.reporting.page import (
    Drawing,
    FigureWriter,
    FirstScreen,
    NextStep,
    Part,
    render,
)
from study.reporting.trial_section import reproduce_parts, trial_parts
from study.reporting.winner_section import winner_parts
from tl_core.files import replace_file
from tl_core.text import pluralize, printable

_SECTIONS: dict[str, Callable[[StudyData, FigureWriter], Iterator[Part]]] = {
    "Label efficiency": label_parts,
    "Learning rate": learning_rate_parts,
    "Auxiliary task": aux_weight_parts,
    "The winner": winner_parts,
    "Which factors matter": importance_parts,
    "Trials": lambda data, _: trial_parts(data),
    "How to reproduce": lambda data, _: reproduce_parts(data),
}
_OTHER_BACKBONES = ("resnet50", "timm:vit_small_patch16_224")
"""A larger network of the usual kind, and one of another kind."""


def write_report(data: StudyData) -> Path:
    """Make the page and its figures in a study's folder; return the page's path.

    Figures go into figures/, as PNG and SVG; the page contains all of them and needs no other file.
    """
    figures = FigureWriter(data.folder / FIGURES)
    with fonts_for([data.subject, *map(printable, data.study["data"]["classes"])]):
        parts = {title: list(make(data, figures)) for title, make in _SECTIONS.items()}
    best_mode, labels, task, *sure = answer_of(data)
    first = FirstScreen(
        f"{data.settings.name}: {data.subject}",
        _subtitle(data),
        recommendation=recommendation(data),
        answers=[best_mode, labels, task],
        how_sure=[*sure, *filter(None, [resolution(data)])],
        figure=_taken(parts["Label efficiency"]),
        next_steps=list(next_steps(data)),
        notes=list(_notes(data)),
    )
    replace_file(data.folder / PAGE, render(first, parts))
    return data.folder / PAGE


def _taken(parts: list[Part]) -> Drawing | None:
    """Take the first figure out of a section, for the first screen."""
    for i, part in enumerate(parts):
        if isinstance(part, Drawing):
            del parts[i]
            return part
    return None


def write_tables(data: StudyData) -> list[Path]:
    """Make confirm.csv, a row per cell, recall.csv, per class, and differences.csv, per two modes.

    Returns their paths; none for a study without confirming trials. A study of an earlier version,
    which kept no outputs, has no recall.csv.
    """
    if not (confirmed := data.confirmed):
        return []
    tables = {
        CONFIRM: confirm_table(data.findings),
        DIFFERENCES: differences_table(data.findings),
    }
    if any(c.images for c in confirmed):
        tables[RECALL] = recall_table(confirmed, [*data.classes])
    for name, table in tables.items():
        replace_file(data.folder / name, table.to_csv(index=False))
    return [data.folder / name for name in tables]


def _subtitle(data: StudyData) -> str:
    images, s = data.study["data"], data.settings
    searched = len(data.search)
    budget = "" if {*s.mode} == {"probe"} else f" of {_budget(s)}"
    return (
        f"{images['images']:,} images of {len(images['classes'])} classes at "
        f"{images['image_size']} px; {s.backbone} with weights {s.weights} in {s.precision}; "
        f"{pluralize(searched, 'trial')}{budget}, "
        f"{len(data.records) - searched} to choose and confirm; {data.study['started'][:10]}"
    )


def _budget(s: Settings) -> str:
    passes = f"at most {pluralize(s.epochs, 'pass', 'passes')} over the training images"
    least = (
        f", or as many as make {pluralize(s.min_steps, 'step')} if that is more"
        if s.min_steps
        else ""
    )
    return f"{passes}{least}"


def _notes(data: StudyData) -> Iterator[str]:
    """Yield what limits the answer."""
    status = data.study["status"]
    if status in ("running", "interrupted"):
        yield f"The study is {status}: this page shows its state when the page was made."
    if status == OUT_OF_TIME:
        yield (
            "The study is not complete: --max-time left out trials that would not have ended in "
            "time. study/run.py --resume runs them."
        )
    if not data.settings.confirm:
        yield (
            "The study ran with --no-confirm: the scores are those that selected the trials, so "
            "they are too good."
        )
    if failed := [r.kind for r in data.records if r.status == "failed"]:
        searched = failed.count("search")
        yield (
            f"Failed trials: {searched} of the search, {len(failed) - searched} after it; the "
            "table of trials has the reasons."
        )
    # Studies of earlier versions have no counts.
    counts = np.array(data.study.get("val_classes", []))
    if len(counts) and (warning := chance_note(data.records, lambda _: counts)):
        yield capitalize(warning)
    yield from data.study["data"].get("notes", [])
    if skipped := data.study["data"]["skipped"]:
        unreadable = pluralize(len(skipped), "unreadable image was", "unreadable images were")
        yield f"{unreadable} skipped; study.json lists them."


def next_steps(data: StudyData) -> Iterator[NextStep]:
    """Yield the steps that fit the study."""
    settings = data.settings
    best = data.winning_cell
    score, called = label_score(data.cells, settings.metric)
    more_labels = data.findings.beyond(best.mode, score) if best else None
    gain = 0.0 if more_labels is None or more_labels.flat else more_labels.gains[TIMES[0]].mean
    if gain >= SHOWN_GAIN:
        points = f"{100 * gain:+.1f} points{' of ' * bool(called)}{called}"
        text = f"Twice the labels, for about {points}: add photos to the folder,"
        yield NextStep(f"{text} and run a new study:", _new(settings))
    if data.study.get("status") not in ENDINGS:  # More trials are for a study that is complete.
        yield NextStep("The trials that this study has not run yet:", resume_command(data.place))
    elif more := missing_trials(settings, data.records):
        name, *out = study_words(data.place)
        words = ["python", "study/run.py", "--extend", name, "--trials", str(more), *out]
        extend = shlex.join(words)
        yield NextStep("More trials for all cells, as some have too few:", extend)
    for wider in wider_rates(settings, best_rates(settings, data.records, data.findings)):
        trials = TRIALS_PER_CELL * len(settings.train_ratio)
        changes = {name: DEFAULTS[name] for name in unread_by([wider.mode])}
        changes |= {"mode": (wider.mode,), "lr": (wider.low, wider.high), "trials": trials}
        of = f" for {MODE_WORDS[wider.mode]}" if len(settings.mode) > 1 else ""
        text = f"A wider range of learning rates{of}, as the best lies at an end of its range:"
        yield NextStep(text, _new(settings, **changes))
    if few_steps(data.records):
        enough = DEFAULTS["min_steps"]
        text = f"The same with at least {enough} steps for each network, as with fewer"
        longer = settings.model_copy(update={"min_steps": enough})
        # A command without it would not show what it changes.
        command = command_of(longer, shown=["min_steps"])
        yield NextStep(f"{text} it may not have converged:", command)
    if is_imbalanced(data.classes.values()) and settings.class_weights == "none":
        metric = settings.metric if settings.metric == "val_macro_f1" else "val_balanced_accuracy"
        alike = {"class_weights": "balanced", "metric": metric}
        yield NextStep("The same with all classes counting alike:", _new(settings, **alike))
    other = next(name for name in _OTHER_BACKBONES if name != settings.backbone)
    if settings.weights != "none":
        changed = _new(settings, backbone=other, weights="default")
        yield NextStep("The same with another pretrained network:", changed)


def _new(settings: Settings, **changes: Any) -> str:
    """The command of a study with some settings changed, whose folder lies beside this one's."""
    return command_of(settings.model_copy(update=changes))
