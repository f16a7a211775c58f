from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from study.analysis.estimates import Confirmed, summarize
from study.analysis.study_data import StudyData
from study.reporting.comparison_tables import estimate_text
from study.reporting.figures.style import Plot
from study.reporting.label_section import cell_table, label_parts, same_images, seeds_table
from study.reporting.page import Drawing, FigureWriter, Table
from tests.support.studies.builders import make_confirmed, make_record, make_settings
from tests.support.studies.image_tables import seen
from tl_core.config import Metric

HITS = np.arange(240)[None] >= np.array([[12], [10], [14]])
WORSE = np.arange(240)[None] >= np.array([[60], [66], [63]])


class Captions(FigureWriter):
    """Keeps the captions of figures, and saves none."""

    def __init__(self) -> None:
        pass

    def add(self, name: str, figure: Plot, caption: str) -> Drawing:
        return Drawing(None, caption)  # type: ignore[arg-type]


def two_modes(ratio: float) -> list[Confirmed]:
    """Freezing at 0.95 and training from scratch at 0.7375."""
    return [*seen("freeze", ratio, HITS), *seen("scratch", ratio, WORSE)]


def test_tables_say_which_interval_they_show() -> None:
    cells = summarize(two_modes(0.1))
    table = cell_table(cells, "test_accuracy")
    assert table.caption == (
        "test_accuracy on new photos: mean and 95 % interval from 3 seeds and 240 test images."
    )
    assert table.rows == [["0.1", *(estimate_text(c.scores["test_accuracy"]) for c in cells)]]
    # The seeds' means are 0.95 and 1/120 apart: t is 4.302653, and the error 1/120/sqrt 3.
    seeds = seeds_table(cells, "test_accuracy")
    assert seeds.caption.startswith("test_accuracy on these test images: the 95 % interval for ot")
    assert seeds.rows[0][1] == "(0.929\xa0to\xa00.971)"
    assert seeds.caption.endswith(" for other seeds alone.")
    alike = seeds_table(summarize(seen("freeze", 0.1, HITS[[0, 0, 0]])), "test_accuracy")
    assert alike.rows[0][1] == "(0.950\xa0to\xa00.950)"
    assert alike.caption.endswith(" all seeds have the same score; others may not have it.")
    old = cell_table(summarize(make_confirmed("freeze", 0.1, (0.9, 0.95))), "test_accuracy")
    assert old.caption.startswith("test_accuracy on these test images: mean and 95 % interval over")
    one = cell_table(summarize(seen("freeze", 0.1, HITS[:1])), "test_accuracy")
    assert one.caption.endswith("it is the interval of these networks, not of the modes.")
    none = cell_table(summarize(make_confirmed("freeze", 0.1, (0.9,))), "test_accuracy")
    assert none.caption == "test_accuracy, with one seed, which gives no interval."


@pytest.mark.parametrize(("ratio", "train", "same"), [
    (0.8, 203, "nearly the same"),  # Of 254 images in uneven classes.
    (0.8, 204, "the same"), (0.8, None, "nearly the same"), (0.4, 102, None),
])  # fmt: skip
def test_ratio_at_which_all_seeds_train_on_the_same_images_is_told(
    ratio: float, train: int | None, same: str | None
) -> None:
    sizes = {"val": 25, "test": 25, f"train_{ratio}": train} if train else {}
    data = StudyData(Path(), {"data": {"images": 254}, "split_sizes": sizes}, [])
    vars(data)["confirmed"] = two_modes(0.1) + two_modes(ratio)
    told = f" At 0.8 all seeds train on {same} images, so its intervals don't cover other training "
    assert same_images(data) == (f"{told}images." if same else "")
    assert cell_table(data.cells, "test_accuracy", " It.").caption.endswith("test images. It.")


@pytest.mark.parametrize(("seeds", "kept", "caption"), [
    (2, True, "mean and 95 % interval over 2 fresh seeds and new photos. A seed sets"),
    (2, False, "mean and 95 % interval over 2 fresh seeds. A seed sets"),
    (1, True, "one fresh seed, with the 95 % interval of its networks on new photos. A seed sets"),
    (1, False, "one fresh seed. A seed sets"),
])  # fmt: skip
def test_the_figure_says_which_interval_it_shows(seeds: int, kept: bool, caption: str) -> None:
    hits = np.tile(np.arange(20) < 18, (seeds, 1)).astype(float)
    confirmed = seen("freeze", 0.1, hits)
    if not kept:
        confirmed = make_confirmed("freeze", 0.1, [0.9] * seeds, test_log_loss=0.3)
        confirmed += make_confirmed("freeze", 0.2, [0.9] * seeds, test_log_loss=0.2)
    data = StudyData(Path(), {"data": {"name": "photos", "images": 100}}, [])
    vars(data).update(settings=make_settings(), confirmed=confirmed)
    figure = next(iter(label_parts(data, Captions())))
    assert isinstance(figure, Drawing)
    assert figure.caption.startswith(f"Test scores of {data.settings.backbone}: {caption}")
    assert "Hollow" not in figure.caption
    vars(data).pop("findings")
    lost = [c for c in confirmed if c.seed == 0 or c.train_ratio == 0.1]
    vars(data).update(confirmed=lost + [replace(c, mode="probe") for c in confirmed[:1]])
    uneven = next(iter(label_parts(data, Captions())))
    assert isinstance(uneven, Drawing)
    alone = (
        "; with one seed, of this network. A" if kept else "; with one seed, without interval. A"
    )
    assert (alone in uneven.caption) == (seeds > 1)
    below = " Where intervals of two modes overlap, see their paired difference below."
    assert below in uneven.caption
    assert below not in figure.caption
    vars(data).pop("findings")
    vars(data).update(confirmed=[replace(c, borrowed_from=0.2) for c in confirmed[:1]])
    borrowed = next(iter(label_parts(data, Captions())))
    assert isinstance(borrowed, Drawing)
    assert "images. Hollow: no trial of the search has finished in this cell" in borrowed.caption


def test_differences_are_shown_in_accuracy_and_in_the_score_that_was_asked_for() -> None:
    about = {"data": {"name": "photos", "images": 100}}
    metrics: dict[Metric, list[str]] = {
        "val_log_loss": ["test_accuracy", "test_log_loss"],
        "val_macro_f1": ["test_macro_f1", "test_accuracy"],
    }
    for metric, scores in metrics.items():
        data = StudyData(Path(), about, [])
        confirmed = [replace(c, scores=c.scores | {"test_macro_f1": 0.5}) for c in two_modes(0.1)]
        vars(data).update(settings=make_settings(metric=metric), confirmed=confirmed)
        tables = [part.caption for part in label_parts(data, Captions()) if isinstance(part, Table)]
        paired = [caption for caption in tables if caption.startswith("Paired differences in ")]
        assert [caption.split()[3] for caption in paired] == scores


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_seed_has_no_table_for_other_seeds(seeds: int) -> None:
    data = StudyData(Path(), {"data": {"name": "photos", "images": 300}}, [])
    vars(data).update(settings=make_settings(), confirmed=seen("freeze", 0.1, HITS[:seeds]))
    tables = [part.caption for part in label_parts(data, Captions()) if isinstance(part, Table)]
    alone = [caption for caption in tables if "for other seeds alone" in caption]
    assert len(alone) == (2 if seeds > 1 else 0)


@pytest.mark.parametrize("ratios", [(0.1, 0.1), (0.1, 0.8)])
def test_lines_are_told_where_there_are_some(ratios: tuple[float, float]) -> None:
    records = [make_record(i, train_ratio=ratio) for i, ratio in enumerate(ratios)]
    data = StudyData(Path(), {"data": {"name": "photos", "images": 300}}, records)
    vars(data).update(settings=make_settings(), confirmed=[])
    *_, figure = label_parts(data, Captions())
    assert isinstance(figure, Drawing)
    joined = "confirmed. Lines join the best trials of each mode. They were selected"
    alone = "confirmed. The best trials were selected"
    assert (joined if ratios[0] < ratios[1] else alone) in figure.caption
