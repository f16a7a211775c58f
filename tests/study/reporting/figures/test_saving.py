from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from study.analysis.images.predictions import Confusion
from study.reporting.figures.saving import CODES, save_png, to_svg
from study.reporting.figures.style import Plot, Value, new_figure
from study.reporting.figures.winner_plots import draw_confusion

NAMES = ("猫", "قطة", "बिल्ली", "🐈", "<script>alert(1)", 'a & "b"', "Кошка")
SVG = "{http://www.w3.org/2000/svg}"


def drawn(title: str = "photos") -> Plot:
    return draw_confusion(Confusion(NAMES, np.eye(len(NAMES), dtype=np.int64)), title)


def shown(figure: Plot, path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of a PNG."""
    texts: list[str] = []
    before = Plot.savefig

    def savefig(self: Plot, *words: Any, **named: Any) -> None:
        before(self, *words, **named)
        texts.extend(tick.get_text() for tick in self.axes[0].get_yticklabels())
        texts.append(self.get_suptitle())

    with monkeypatch.context() as patch:
        patch.setattr(Plot, "savefig", savefig)
        save_png(figure, path)
    return texts


@pytest.mark.filterwarnings("error")
def test_png_has_codes_and_says_so_and_svg_has_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = drawn("动物\nphotos")
    *names, title = shown(figure, tmp_path / "a.png", monkeypatch)
    assert names == [
        r"\u732b", "قطة", r"\u092c\u093f\u0932\u094d\u0932\u0940", r"\U0001f408",
        "<script>alert(1)", 'a & "b"', "Кошка",
    ]  # fmt: skip
    assert title == f"\\u52a8\\u7269\nphotos\n{CODES}"
    assert figure.get_suptitle() == "动物\nphotos"
    root = ElementTree.fromstring(to_svg(figure, "confusion", ""))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    for name in NAMES:
        assert texts.count(name) == 2, "of its row and of its column"
    assert {"动物", "photos"} <= set(texts)
    assert CODES not in texts


def test_png_without_codes_has_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = new_figure("Кошка", 2)
    figure.subplots()
    *_, title = shown(figure, tmp_path / "a.png", monkeypatch)
    assert title == "Кошка"


def test_values_lie_on_their_points(tmp_path: Path) -> None:
    figure = new_figure("points", 3)
    left, right = figure.subplots(1, 2)
    places = [(1, 0.5), (20, 0.7), (300, 0.1)]
    for axes in (left, right):
        axes.set_xscale("log")
        axes.plot(*zip(*places, strict=True), "o")
        figure.values += [Value(axes, x, y, f"{x}") for x, y in places]
    figure.values.append(Value(left, 20, 1.0, "edge", at_the_edge=True))
    save_png(figure, tmp_path / "a.png")
    root = ElementTree.fromstring(to_svg(figure, "points", ""))
    ids = [path.get("id") for path in root.iter(f"{SVG}path") if path.get("d", "").count("C") == 8]
    href = "{http://www.w3.org/1999/xlink}href"
    markers = [
        (float(use.get("x", "")), float(use.get("y", "")))
        for use in root.iter(f"{SVG}use")
        if use.get(href, "").removeprefix("#") in ids
    ]
    *circles, edge = (
        (float(c.get("cx", "")), float(c.get("cy", ""))) for c in root.iter(f"{SVG}circle")
    )
    assert len(markers) == 6
    assert np.array(circles) == pytest.approx(np.array(markers), abs=0.1)
    assert edge[0] == circles[1][0]
    assert edge[1] < min(y for _, y in circles)
