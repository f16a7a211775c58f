from pathlib import Path

from study.reporting.figures.style import STYLES, is_unbounded, new_figure, ratio_axis, save
from tl_core.config import MODES


def test_labels_of_close_ratios_are_left_out() -> None:
    axes = new_figure("", 3).subplots()
    ratio_axis(axes, [0.01, 0.1, 0.11, 0.79, 0.8], 100)
    assert list(axes.get_xticks()) == [0.01, 0.11, 0.8]


def test_every_mode_has_a_look_of_its_own() -> None:
    assert set(STYLES) == set(MODES)
    for part in ("color", "marker"):
        assert len({style[part] for style in STYLES.values()}) == len(MODES)


def test_dollars_are_no_formulas_and_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(new_figure(r"$\wrong{", 2), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_long_titles_are_broken_and_a_loss_below_zero_has_a_place() -> None:
    title = new_figure("a name of data " * 10 + "\nsecond", 3).get_suptitle()
    assert max(map(len, title.splitlines())) <= 86
    assert title.splitlines()[-1] == "second"
    assert [is_unbounded(name) for name in ("val_log_loss", "val_brightness_mae")] == [True] * 2
    assert not is_unbounded("val_loss")
