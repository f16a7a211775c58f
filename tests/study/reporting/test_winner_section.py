"""The winner's recall of each class."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from study.analysis.estimates import by_cell
from study.analysis.images.recall import Recall
from study.analysis.study_data import StudyData, read_study_data
from study.reporting.build import write_tables
from study.reporting.page import Drawing, FigureWriter, Table
from study.reporting.winner_section import recall_table, winner_parts
from tests.support.report_page import Page
from tests.support.studies.builders import make_record, make_settings
from tests.support.studies.image_tables import with_images
from tests.support.studies.ray_runs import FinishedStudy
from tests.support.studies.synthetic import tiny_study
from tl_core.config import Mode


def recalls(n: int) -> list[Recall]:
    """The classes 0 to n - 1, of which the last has the worst recall."""
    return [Recall(f"class {i}", 20, 1 - i / 100, 0.5, 1.0) for i in range(n)]


def test_the_worst_come_first() -> None:
    table = recall_table(recalls(3), 5)
    assert [row[0] for row in table.rows] == ["class 2", "class 1", "class 0"]
    assert table.rows[0][1:] == ["20", "0.980", "(0.500\xa0to\xa01.000)"]
    assert table.caption == (
        "Recall of each class, the worst first: which share of its test images the winner "
        "recognises (mean of 5 seeds). Wilson's interval is on new photos: it counts no image more "
        "than once, however many seeds have seen it. The worst of many classes are partly so by "
        "chance, which it does not allow for."
    )


def test_of_many_classes_the_best_are_left_out_and_told() -> None:
    table = recall_table(recalls(100), 1)
    assert [row[0] for row in table.rows] == [f"class {i}" for i in range(99, 69, -1)]
    assert "(one seed, so it is about this network alone)" in table.caption
    assert table.caption.endswith(" 70 classes with a better recall: recall.csv has all.")


@pytest.mark.usefixtures("undrawn")
def test_the_table_is_there_if_outputs_were_kept(tmp_path: Path) -> None:
    folder = tiny_study().write(tmp_path / "tiny")

    def tables(data: StudyData) -> list[Table]:
        parts = winner_parts(data, FigureWriter(tmp_path / "figures"))
        return [p for p in parts if isinstance(p, Table) and p.head[0] == "class"]

    data = read_study_data(folder)
    assert tables(data) == []
    (cell,) = by_cell(data.confirmed).values()
    hits = np.ones((len(cell), 40))
    hits[:, 1:8:2] = 0  # Of 20 dogs, four.
    vars(data)["confirmed"] = with_images(list(cell.values()), hits)
    (table,) = tables(data)
    assert [row[:3] for row in table.rows] == [["dog", "20", "0.800"], ["cat", "20", "1.000"]]
    names = ["confirm.csv", "differences.csv", "recall.csv"]
    assert [path.name for path in write_tables(data)] == names
    assert [path.name for path in write_tables(read_study_data(folder))] == names[:2]


@pytest.mark.usefixtures("undrawn")
def test_calibration_is_that_of_all_seeds_without_bias(tmp_path: Path) -> None:
    data = read_study_data(tiny_study().write(tmp_path / "tiny"))

    def captions() -> list[str]:
        parts = winner_parts(data, FigureWriter(tmp_path / "figures"))
        return [p.caption for p in parts if isinstance(p, Drawing) and "calibration" in p.caption]

    (plain,) = captions()
    assert plain.endswith("few images in a bin make it look larger than it is.")
    confirmed = data.confirmed
    # The mean of the five is 0.0015 and half of its interval 0.00152: below 0 nothing is possible.
    # With the other five the mean is -0.0001, and half of its interval 0.00299.
    for squares, said in (
        ((0.0025, 0.0025, -0.0005, 0.0015, 0.0015), "0.039 (0.000\xa0to\xa00.055) on these test im"
         "ages."),
        ((0.0025, 0.0025, -0.0025, -0.0015, -0.0015), "0.000 (0.000\xa0to\xa00.054) on these test "
         "images; the estimate is below 0, and cut there, so the distance need not be 0."),
    ):  # fmt: skip
        for made in ("findings", "winning_cell"):
            vars(data).pop(made, None)
        vars(data)["confirmed"] = [
            replace(c, scores=c.scores | {"test_calibration_mse": square})
            for c, square in zip(confirmed, [*squares, *[0.0] * 5], strict=True)  # Controls last.
        ]
        (found,) = captions()
        start = " Over 5 fresh seeds, without this bias, the root mean square distance is "
        assert found.removeprefix(plain) == start + said


@pytest.mark.parametrize(("mode", "min_steps", "flag"), [
    ("probe", 200, None), ("freeze", 200, "--min-steps"),
    # Two passes over 48 images at batch 32 are four steps.
    ("freeze", 5, "--min-steps"), ("freeze", 4, "--epochs"),
])  # fmt: skip
@pytest.mark.usefixtures("undrawn")
def test_curves_name_the_flag_that_decides_how_long_a_trial_is_and_a_probe_has_none(
    tmp_path: Path, mode: Mode, min_steps: int, flag: str | None
) -> None:
    about = {"data": {"name": "photos", "images": 600}, "split_sizes": {"train_0.1": 48}}
    data = StudyData(tmp_path, about, [make_record(mode=mode, min_steps=min_steps)])
    vars(data).update(settings=make_settings(data="photos", mode=[mode], confirm=False))
    parts = winner_parts(data, FigureWriter(tmp_path / "figures"))
    found = [p.caption.rsplit(" use more ", 1)[1] for p in parts if isinstance(p, Drawing)]
    assert found == ([] if flag is None else [f"{flag}."])


@pytest.mark.integration
def test_a_study_has_it_in_its_report_and_tables(finished_study: FinishedStudy) -> None:
    lines = (finished_study.folder / "recall.csv").read_text().splitlines()
    assert lines[0] == "mode,train_ratio,class,n,images,recall,low,high"
    assert {line.split(",")[2] for line in lines[1:]} == {"cat", "dog"}
    page = Page(finished_study.folder / "report.html")
    assert "Recall of each class, the worst first" in page.text
    assert "without this bias, the root mean square distance is" in page.text
