from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from study import plots
from study.plots import STYLES, plot_curves, plot_trials
from study.records import TrialRecord
from tests.study.builders import make_epoch, make_record
from tl_core.config import MODES


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures as they are when saved; each is still saved and closed."""
    seen: list[Figure] = []
    save = plots._save

    def keep(figure: Figure, title: str, path: Path) -> None:
        seen.append(figure)
        save(figure, title, path)

    monkeypatch.setattr(plots, "_save", keep)
    return seen


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def values_of(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def some_records() -> list[TrialRecord]:
    return [
        make_record(0, "done", (0.5,), mode="freeze", train_ratio=0.1),
        make_record(1, "done", (0.25,), mode="freeze", train_ratio=0.1),
        make_record(2, "done", (0.2,), mode="freeze", train_ratio=0.8),
        make_record(3, "pruned", (0.9,), mode="finetune", train_ratio=0.8),
        make_record(4, "done", (0.3,), mode="finetune", train_ratio=0.8),
        make_record(5, "failed", (), "DivergedError", mode="scratch", train_ratio=0.1),
        make_record(6, "interrupted", (0.1,), mode="lp_ft", train_ratio=0.4),
    ]


def test_curves_are_those_of_the_article(figures: list[Figure], tmp_path: Path) -> None:
    record = make_record(log_losses=())
    record.history = [
        make_epoch(1, train_loss=0.7, train_accuracy=0.5, val_accuracy=0.6),
        make_epoch(2, train_loss=0.4, train_accuracy=0.8, val_accuracy=0.7),
    ]
    plot_curves(record, "a title", tmp_path / "curves.png")
    loss, accuracy = figures[0].axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("training loss", "accuracy")
    assert [values_of(line) for line in loss.lines] == [[(1, 0.7), (2, 0.4)]]
    lines = {str(line.get_label()): values_of(line) for line in accuracy.lines}
    assert lines == {"training": [(1, 0.5), (2, 0.8)], "validation": [(1, 0.6), (2, 0.7)]}
    assert figures[0].get_suptitle() == "a title"
    picture = read(tmp_path / "curves.png")
    assert picture.shape == (540, 1350, 3)
    assert picture.std() > 10
    assert plt.get_fignums() == []


def test_curves_of_one_epoch(tmp_path: Path) -> None:
    plot_curves(make_record(log_losses=(0.5,)), "one", tmp_path / "curves.png")
    assert read(tmp_path / "curves.png").std() > 10


def test_every_ended_trial_is_a_point_and_a_line_joins_the_best(
    figures: list[Figure], tmp_path: Path
) -> None:
    plot_trials(some_records(), "val_log_loss", "seven trials", tmp_path / "trials.png")
    (axes,) = figures[0].axes
    points = sorted(
        (float(x), float(y)) for dots in axes.collections for x, y in np.asarray(dots.get_offsets())
    )
    assert points == [(0.1, 0.25), (0.1, 0.5), (0.8, 0.2), (0.8, 0.3), (0.8, 0.9)]
    lines = {str(line.get_label()): values_of(line) for line in axes.lines}
    assert lines == {"freeze": [(0.1, 0.25), (0.8, 0.2)], "finetune": [(0.8, 0.3)]}
    assert axes.get_ylabel() == "val_log_loss"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.1", "0.4", "0.8"]
    assert read(tmp_path / "trials.png").std() > 10


def test_best_is_the_highest_where_more_is_better(figures: list[Figure], tmp_path: Path) -> None:
    records = [make_record(i) for i in range(2)]
    for record, accuracy in zip(records, (0.7, 0.9), strict=True):
        record.history = [make_epoch(val_accuracy=accuracy)]
    plot_trials(records, "val_accuracy", "two", tmp_path / "trials.png")
    (line,) = figures[0].axes[0].lines
    assert values_of(line) == [(0.1, 0.9)]


def test_every_mode_has_a_look_of_its_own() -> None:
    assert set(STYLES) == set(MODES)
    for part in ("color", "marker"):
        assert len({style[part] for style in STYLES.values()}) == len(MODES)
