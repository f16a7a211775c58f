"""The report on every trial, and on how to reproduce the study."""

import shlex
from collections.abc import Iterator, Sequence

from study.analysis.study_data import StudyData
from study.answers.phrases import show_number, show_rate, show_weight
from study.config.program import command_of
from study.records.study_folder import study_words
from study.records.trial_record import TrialRecord, status_counts
from study.reporting.page import Code, Paragraph, Part, Table, isolated
from tl_core.text import natural_key, pluralize


def trial_parts(data: StudyData) -> Iterator[Part]:
    """Yield a table of all trials; failed and pruned ones are marked."""
    of_task = [f"val_{name}" for name in data.settings.task.scores[:1]]
    scores = list(dict.fromkeys((data.settings.metric, "val_accuracy", *of_task)))
    modes = {r.config.mode for r in data.records}
    rates = ["lr"] * (modes != {"probe"}) + ["l2"] * ("probe" in modes)
    head = [
        *("trial", "kind", "status", "mode", "train_ratio", *rates, "aux_weight", "seed"),
        *("epochs", *scores, "test_accuracy", "seconds", "error"),
    ]
    yield Table(
        head,
        [_row(record, rates, scores) for record in data.records],
        f"{pluralize(len(data.records), 'trial')}: {status_counts(data.records)}. "
        "Bold: the winner; italic: pruned (stopped early), with its last scores; "
        "shaded: failed or interrupted. An epoch is one of --epochs equal parts of a trial's "
        "steps.",
        ["best" if r is data.winner else r.status for r in data.records],
        filters=("kind", "status", "mode"),
    )


def _row(record: TrialRecord, rates: Sequence[str], scores: Sequence[str]) -> list[str]:
    c = record.config
    name, _, rate = show_rate(record, ".2e").partition(" ")  # A probe has a penalty in its place.
    return [
        str(record.trial),
        record.kind,
        record.status,
        c.mode,
        f"{c.train_ratio:g}",
        *(rate if each == name else "" for each in rates),
        show_weight(c.aux_weight, ".3g"),
        f"{c.seed} to {c.seed + c.seeds - 1}" if c.seeds > 1 else str(c.seed),
        f"{len(record.history)} of {c.epochs}",
        *(show_number(record.value(score)) for score in scores),
        show_number(record.test.get("test_accuracy")),
        f"{record.wall_s:.1f}",
        record.error or "",
    ]


def reproduce_parts(data: StudyData) -> Iterator[Part]:
    """Yield the commands that repeat the study, and the facts that determine its numbers."""
    name, *words = study_words(data.place)
    yield Paragraph(
        "The study, in the folder that it ran in. If that is not the clone of the program, "
        "tl-study run, predict and report are the same as the scripts in study/:"
    )
    yield Code(command_of(data.settings))
    if data.winner:
        yield Paragraph("One of its trials again, with the same numbers on the CPU:")
        trial = f"{name}/{data.winner.trial}"
        yield Code(shlex.join(["python", "study/run.py", "--replay", trial, *words]))
    yield Paragraph("This page:")
    yield Code(shlex.join(["python", "study/report.py", name, *words]))
    yield Table(
        ["what", "value"],
        _facts(data),
        "The search depends on the order in which trials end: with several trials at once, Optuna "
        "may suggest other configurations. The numbers of each trial follow from its "
        "configuration.",
    )
    yield Table(
        ["split", "content hash"],
        list(data.study["splits"].items()),
        "Images of each split; the same hash means the same images.",
    )


def _facts(data: StudyData) -> list[tuple[str, str]]:
    study, s = data.study, data.settings
    images, hardware, classes = study["data"], study["hardware"], study["data"]["classes"]
    named = ", ".join(
        f"{isolated(name)} ({classes[name]})" for name in sorted(classes, key=natural_key)
    )
    gpus = ", ".join(hardware["gpus"]) or "none"
    scales = "; ".join(
        f"{depth}: {black:,.6g} is black, {white:,.6g} is white"
        for depth, (black, white) in images.get("scales", {}).items()
    )
    return [
        ("data", f"{images['name']}, {images['images']} images at {images['image_size']} px"),
        ("data key", images["key"]),
        ("classes", named if len(classes) <= 20 else f"{len(classes)}; study.json lists them"),
        *([("levels of deep images", scales)] if scales else []),
        ("backbone", f"{s.backbone}, weights {s.weights}, precision {s.precision}"),
        ("seeds", f"{s.seed} for the search, {s.split_seed} for the splits"),
        ("hardware", f"{hardware['machine']}, {hardware['cpus']} CPU cores, GPUs: {gpus}"),
        ("versions", ", ".join(f"{name} {v}" for name, v in study["versions"].items())),
        ("started", study["started"]),
        ("ended", study.get("ended", "not yet")),
    ]
