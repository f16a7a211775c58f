"""The figures on the factors."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.analysis.comparisons import Difference, MultiTask, multi_tasks
from study.analysis.importances import Importance
from study.analysis.study_data import StudyData
from study.intervals.estimate import Estimate
from study.records.trial_record import TrialRecord
from study.reporting.factor_section import (
    aux_weight_parts,
    importance_parts,
    learning_rate_parts,
)
from study.reporting.figures.style import Plot
from study.reporting.page import Drawing, FigureWriter, Paragraph, Part, Table
from study.search.cells import Cell
from tests.support.studies.builders import make_confirmed, make_record, make_settings
from tl_core.config import Mode


class Values(FigureWriter):
    """Keeps what the figures say at the pointer, and saves none."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, name: str, figure: Plot, caption: str) -> Drawing:
        self.texts += [value.text for value in figure.values]
        return Drawing(None, caption)  # type: ignore[arg-type]


def aux_parts(
    records: list[TrialRecord], effects: list[MultiTask], **given: Any
) -> tuple[list[Part], Values]:
    data = StudyData(Path(), {"data": {"name": "photos", "images": 100}}, records)
    findings = SimpleNamespace(effects=lambda *_: effects)
    settings = make_settings(data="photos", **given)
    vars(data).update(settings=settings, confirmed=[], findings=findings)
    figures = Values()
    return list(aux_weight_parts(data, figures)), figures


def test_weights_are_compared_among_networks_alone() -> None:
    probe = make_record(0, mode="probe", aux_weight=0.0)
    fixed, more = (
        make_record(i, mode="finetune", aux_weight=weight) for i, weight in ((1, 0.3), (2, 0.5))
    )
    parts, figures = aux_parts([probe, fixed], [])
    (paragraph,) = parts
    assert isinstance(paragraph, Paragraph)
    assert paragraph.text == "All trials of the search have aux_weight 0.3: there is no comparison."
    assert not figures.texts
    _, figures = aux_parts([probe, fixed, more], [])
    assert {text.split("\n")[0] for text in figures.texts} == {"trial 1", "trial 2"}


@pytest.mark.parametrize(("low", "said", "mark"), [
    (0.1, "and yet hurt the classification. With it, ", "▼ "),
    (-0.1, "so its effect is unknown. With it, ", "+"),
])  # fmt: skip
def test_a_task_that_is_not_learned_may_cost(low: float, said: str, mark: str) -> None:
    cell = Cell("finetune", 0.1)
    worse = Difference(cell, cell, "test_log_loss", Estimate(0.2, low, 0.3, 3, images=60))
    skill, error = Estimate(-0.2, -0.4, 0.1, 3), Estimate(0.05, None, None, 3)
    effect = MultiTask(cell, 0.5, {"test_log_loss": worse}, skill, error, 0.04, tuned=False)
    (table, *_), _ = aux_parts([make_record(mode="finetune", aux_weight=0.5)], [effect])
    assert isinstance(table, Table)
    assert f"the task is not shown to be learned, {said}" in table.caption
    assert table.rows[0][1].startswith(mark)


def test_without_a_comparison_the_error_of_the_winner_is_told() -> None:
    record = make_record(3, mode="finetune", aux_weight=0.3)
    record.test = {"test_brightness_mae": 0.05, "test_brightness_r2": 0.8}
    record.test["test_brightness_mae_baseline"] = 0.12
    (paragraph,), _ = aux_parts([record], [], confirm=False)
    assert isinstance(paragraph, Paragraph)
    assert paragraph.text == (
        "All trials of the search have aux_weight 0.3: there is no comparison. Trial 3 predicts "
        "brightness on the test images with mean error 0.050 on a scale of 0 to 1, 0.120 for the "
        "training mean, R2 0.80."
    )
    untrained = replace(record, config=record.config.model_copy(update={"aux_weight": 0.0}))
    (paragraph,), _ = aux_parts([untrained], [], confirm=False)
    assert isinstance(paragraph, Paragraph)
    assert paragraph.text.endswith("there is no comparison.")


def test_frozen_features_are_not_drawn_over_the_weight() -> None:
    frozen = [make_record(i, mode="freeze", aux_weight=i / 4) for i in range(3)]
    (paragraph,), figures = aux_parts(frozen, [], confirm=False)
    assert isinstance(paragraph, Paragraph)
    assert paragraph.text == (
        "All trials of the search have frozen features, and the auxiliary task can't change how "
        "they are classified."
    )
    assert not figures.texts
    (paragraph,), _ = aux_parts([replace(r, status="failed", history=[]) for r in frozen], [])
    assert isinstance(paragraph, Paragraph)
    assert paragraph.text == "No trial has a score yet."


def test_where_controls_ran_there_is_a_comparison() -> None:
    cell = Cell("finetune", 0.5)
    effects = multi_tasks(
        [*make_confirmed(*cell, [0.9, 0.8]), *make_confirmed(*cell, [0.9, 0.7], "control")]
    )
    parts, _ = aux_parts([make_record(1, mode="finetune", aux_weight=0.3)], effects)
    assert [type(part) for part in parts] == [Table]


def test_an_arrow_is_for_the_score_that_decides() -> None:
    cell = Cell("finetune", 0.5)

    def told(losses: tuple[float, float]) -> list[str]:
        """The task makes accuracy better by 0.1 on each seed, and log loss by these."""
        arm = [
            replace(c, scores=c.scores | {"test_log_loss": loss})
            for c, loss in zip(make_confirmed(*cell, [0.9, 0.8]), losses, strict=True)
        ]
        control = make_confirmed(*cell, [0.8, 0.7], "control", test_log_loss=0.3)
        trial = make_record(1, mode="finetune", aux_weight=0.3)
        (table,), _ = aux_parts([trial], multi_tasks([*arm, *control]))
        assert isinstance(table, Table)
        assert [row[0] for row in table.rows] == ["test_log_loss", "test_accuracy"]
        return [row[1].split(" ")[0] for row in table.rows]

    assert told((0.2, 0.2)) == ["▲", "+0.100"]
    assert told((0.2, 0.4)) == ["+0.000", "+0.100"]


@pytest.mark.parametrize(("clear", "said"), [
    ({"mode"}, "Not shown, as with shuffled scores they have as much: lr and aux_weight."),
    (set(), "Importances of the factors are not shown: none is more than with shuffled scores."),
    ({"mode", "lr", "aux_weight"}, None),
])  # fmt: skip
def test_factors_that_chance_explains_are_not_drawn(
    clear: set[str], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = {"mode": 0.5, "lr": 0.3, "aux_weight": 0.2}
    found = {name: Importance(each, name in clear) for name, each in shares.items()}
    monkeypatch.setattr("study.reporting.factor_section.importances", lambda *_: found)
    records = [make_record(i) for i in range(40)]
    data = StudyData(Path(), {"data": {"name": "photos", "images": 100}}, records)
    vars(data)["settings"] = make_settings(data="photos")
    first, *_ = importance_parts(data, Values())
    text = first.text if isinstance(first, Paragraph) else getattr(first, "caption", "")
    assert text.endswith(said) if said else "Not shown" not in text
    assert isinstance(first, Drawing) == bool(clear)


@pytest.mark.parametrize(("modes", "gap"), [
    (("freeze", "probe"), True), (("probe",), False), (("freeze",), False),
])  # fmt: skip
def test_the_gap_in_the_line_of_a_probe_is_told(modes: tuple[Mode, ...], gap: bool) -> None:
    records = [make_record(i, mode=mode) for i, mode in enumerate(modes)]
    data = StudyData(Path(), {"data": {"name": "photos", "images": 100}}, records)
    vars(data)["settings"] = make_settings(data="photos", mode=[*modes])
    *_, lines = importance_parts(data, Values())
    assert isinstance(lines, Drawing)
    told = " its line stops at train_ratio and begins again at aux_weight."
    assert lines.caption.endswith(told) == gap


@pytest.mark.parametrize(
    ("sizes", "shown"), [({}, "200 images"), ({"train_0.5": 230.4}, "230 images")]
)
def test_images_are_those_of_the_given_training_part(sizes: dict[str, float], shown: str) -> None:
    settings = make_settings(data="photos", mode=["finetune"], train_ratio=["0.5"])
    records = [
        make_record(i, mode="finetune", train_ratio=0.5, aux_weight=i / 4, log_losses=(0.5 + i,))
        for i in range(3)
    ]
    about = {"name": "photos", "images": 1000, "ratio_base": 400, "largest_ratio": 1.0}
    data = StudyData(Path(), {"data": about, "mean_train_sizes": sizes}, records)
    vars(data)["settings"] = settings
    vars(data)["confirmed"] = []
    for make in (learning_rate_parts, aux_weight_parts, importance_parts):
        figures = Values()
        list(make(data, figures))
        assert figures.texts
        assert {re.findall(r"\d+ images", text)[0] for text in figures.texts} == {shown}
