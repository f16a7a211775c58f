"""The figures on the factors."""

import re
from pathlib import Path

from study.analysis.study_data import StudyData
from study.reporting.factor_section import (
    aux_weight_parts,
    importance_parts,
    learning_rate_parts,
)
from study.reporting.figures.style import Plot
from study.reporting.page import Drawing, FigureWriter
from tests.support.studies.builders import make_record, make_settings


class Values(FigureWriter):
    """Keeps what the figures say at the pointer, and saves none."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, name: str, figure: Plot, caption: str) -> Drawing:
        self.texts += [value.text for value in figure.values]
        return Drawing(None, caption)  # type: ignore[arg-type]


def test_images_are_a_share_of_the_given_training_part() -> None:
    settings = make_settings(data="photos", mode=["finetune"], train_ratio=["0.5"])
    records = [
        make_record(i, mode="finetune", train_ratio=0.5, aux_weight=i / 4, log_losses=(0.5 + i,))
        for i in range(3)
    ]
    about = {"name": "photos", "images": 1000, "ratio_base": 400, "largest_ratio": 1.0}
    data = StudyData(Path(), {"data": about}, records)
    vars(data)["settings"] = settings
    vars(data)["confirmed"] = []
    for make in (learning_rate_parts, aux_weight_parts, importance_parts):
        figures = Values()
        list(make(data, figures))
        assert figures.texts
        assert {re.findall(r"\d+ images", text)[0] for text in figures.texts} == {"200 images"}
