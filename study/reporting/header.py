"""How the report opens: what was studied, the answer, and what to know before believing it."""

from collections.abc import Iterator

from study.analysis.answer import About, answer
from study.analysis.study_data import StudyData
from tl_core.text import pluralize


def subtitle(findings: StudyData) -> str:
    """Say what the study is made of, in a line."""
    data, s = findings.study["data"], findings.settings
    trials, epochs = pluralize(len(findings.search), "trial"), pluralize(s.epochs, "epoch")
    return (
        f"{data['images']:,} images of {len(data['classes'])} classes at {data['image_size']} px; "
        f"{s.backbone} with weights {s.weights} in {s.precision}; {trials} "
        f"of up to {epochs}, {len(findings.records) - len(findings.search)} to confirm "
        f"them; {findings.study['started'][:10]}"
    )


def answer_of(findings: StudyData) -> tuple[str, ...]:
    """Return the three sentences."""
    s = findings.settings
    about = About(
        data=findings.data,
        images=findings.images,
        backbone=s.backbone,
        metric=s.metric,
        aux_weights=s.aux_weight,
    )
    return answer(about, findings.search, findings.confirmed)


def notes_on(findings: StudyData) -> Iterator[str]:
    """Yield what limits the answer."""
    study, s = findings.study, findings.settings
    if study["status"] in ("running", "interrupted"):
        yield f"The study is {study['status']}: this page shows what there was when it was made."
    if not s.confirm:
        yield "Run with --no-confirm: scores are those that trials were chosen by, so too good."
    if failed := [r.kind for r in findings.records if r.status == "failed"]:
        of_search = failed.count("search")
        yield (
            f"Trials that failed: {of_search} of the search, {len(failed) - of_search} of those "
            "that confirm it; the table of trials has the reasons."
        )
    if skipped := study["data"]["skipped"]:
        left_out = pluralize(len(skipped), "unreadable image was", "unreadable images were")
        yield f"{left_out} left out; study.json lists them."
