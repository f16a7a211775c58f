"""The report on every trial, and on how to run the study again."""

from collections.abc import Iterator, Sequence

from study.analysis.phrases import show_weight
from study.analysis.study_data import StudyData
from study.config.reproduce import command_of
from study.records.trial_record import TrialRecord
from study.reporting.page import Code, Part, Section, Table, Words
from tl_core.text import pluralize


def trial_section(findings: StudyData) -> Section:
    """A table of all trials, failed and pruned ones shown as such."""
    metric = findings.settings.metric
    scores = list(dict.fromkeys((metric, "val_accuracy", "val_brightness_mae")))
    head = [
        *("trial", "kind", "status", "mode", "train_ratio", "lr", "aux_weight", "seed", "epochs"),
        *(*scores, "test_accuracy", "seconds", "error"),
    ]
    rows = [_row(record, scores) for record in findings.records]
    looks = ["best" if r is findings.winner else r.status for r in findings.records]
    counts = ", ".join(f"{n} {status}" for status, n in _counts(findings.records).items())
    caption = (
        f"{pluralize(len(rows), 'trial')}: {counts}. Click a column's name to sort. Bold: the "
        "winner; italic: pruned, that is stopped early, with its last scores; shaded: failed or "
        "interrupted."
    )
    return Section("Trials", [Table(head, rows, caption, looks, sortable=True)])


def _row(record: TrialRecord, scores: Sequence[str]) -> list[str]:
    c = record.config
    last = record.history[-1] if record.history else None
    test = record.test.get("test_accuracy")
    return [
        str(record.trial),
        record.kind,
        record.status,
        c.mode,
        f"{c.train_ratio:g}",
        f"{c.lr:.2e}",
        show_weight(c.aux_weight, ".3g"),
        f"{c.seed} to {c.seed + c.seeds - 1}" if c.seeds > 1 else str(c.seed),
        f"{len(record.history)} of {c.epochs}",
        *(f"{getattr(last, score):.4f}" if last else "" for score in scores),
        f"{test:.4f}" if test is not None else "",
        f"{record.wall_s:.1f}",
        record.error or "",
    ]


def _counts(records: list[TrialRecord]) -> dict[str, int]:
    statuses = [r.status for r in records]
    return {status: statuses.count(status) for status in dict.fromkeys(statuses)}


def reproduce_section(findings: StudyData) -> Section:
    """The command line, and what else decides the numbers."""
    return Section("How to reproduce", list(_reproduce(findings)))


def _reproduce(findings: StudyData) -> Iterator[Part]:
    study, settings = findings.study, findings.settings
    yield Words("The study, in the folder that it was run in:")
    yield Code(command_of(settings))
    if findings.winner:
        trial = findings.winner.trial
        yield Words(
            "One of its trials, which gives the same metrics again, bit for bit on the CPU:"
        )
        yield Code(f"python study/run.py --replay {settings.name}/{trial}")
    yield Words("This page:")
    yield Code(f"python study/report.py {settings.name}")
    yield Table(
        ["what", "value"],
        [[name, value] for name, value in _facts(findings).items()],
        "The search itself is as repeatable as the order in which trials end: with several at "
        "once, Optuna may suggest others. Each trial's numbers follow from its configuration.",
    )
    yield Table(
        ["split", "content hash"],
        [[name, value] for name, value in study["splits"].items()],
        "Images of each split; the same hash means the same images.",
    )


def _facts(findings: StudyData) -> dict[str, str]:
    study, s = findings.study, findings.settings
    data, hardware = study["data"], study["hardware"]
    classes = data["classes"]
    named = ", ".join(f"{name} ({n})" for name, n in classes.items())
    return {
        "data": f"{data['name']}, {data['images']} images at {data['image_size']} px",
        "data key": data["key"],
        "classes": named if len(classes) <= 20 else f"{len(classes)}; study.json lists them",
        "backbone": f"{s.backbone}, weights {s.weights}, precision {s.precision}",
        "seeds": f"{s.seed} for the search, {s.split_seed} for the splits",
        "hardware": f"{hardware['machine']}, {hardware['cpus']} CPU cores, "
        f"GPUs: {', '.join(hardware['gpus']) or 'none'}",
        "versions": ", ".join(f"{name} {version}" for name, version in study["versions"].items()),
        "started": study["started"],
        "ended": study.get("ended", "not yet"),
    }
