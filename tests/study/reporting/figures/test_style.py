from pathlib import Path

from study.reporting.figures.style import STYLES, is_unbounded, new_figure, ratio_axis, save
from tl_core.config import MODES


def test_looks_ticks_titles_and_files(tmp_path: Path) -> None:
    assert set(STYLES) == set(MODES)
    for part in ("color", "marker"):
        assert len({style[part] for style in STYLES.values()}) == len(MODES)
    axes = new_figure("", 3).subplots()
    ratio_axis(axes, [0.01, 0.1, 0.11, 0.79, 0.8], 100)
    assert list(axes.get_xticks()) == [0.01, 0.11, 0.8], "labels of close ratios are left out"
    for name in ("a", "b"):  # Dollars are no formulas.
        save(new_figure(r"$\wrong{", 2), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    title = new_figure("a name of data " * 10 + "\nsecond", 3).get_suptitle()
    assert max(map(len, title.splitlines())) <= 86
    assert title.splitlines()[-1] == "second"
    names = ("val_log_loss", "val_brightness_mae", "val_loss")
    assert [is_unbounded(name) for name in names] == [True, True, False]
