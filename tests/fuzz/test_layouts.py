"""Data sets of every layout: splits keep to what is true of the files, and studies end."""

import itertools
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, given

from study import run
from study.preflight.prepare import prepare
from study.preflight.setup import Setup
from tests.conftest import SIDE, TINY
from tests.support.layouts import Layout, Photo, has_label, layouts
from tests.support.studies.command_lines import Words, effort, outcome, tries
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import Split

_RATIOS = (0.4, 0.7)


@pytest.fixture
def before(tiny_weights: Path) -> Words:
    """What each command line begins with: a small study."""
    net = ("--backbone", TINY, "--weights", str(tiny_weights), "--image-size", str(SIDE))
    return (*net, "--offline", "--epochs", "1", "--min-steps", "2", "--train-ratio", "0.4")


@pytest.mark.parametrize("examples", [15, pytest.param(150, marks=pytest.mark.fuzz)])
def test_splits_are_true(
    examples: int, before: Words, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[ImageSet] = []

    def keep_images(setup: Setup, console: object) -> int:
        found.append(prepare(setup).images)
        return 0

    monkeypatch.setattr(run, "_run_study", keep_images)

    @effort(examples, shrink=False)
    @given(layout=layouts())
    def each(layout: Layout) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            monkeypatch.chdir(folder)
            found.clear()
            words = layout.write(Path(folder))
            code, printed = outcome(run.main, (*before, "--debug", "--cache", "cache", *words))
            event(f"exit code {code}")
            if code == 2 and layout.aux and f"--aux {layout.aux}: the" in printed:
                return  # A part may have one value alone.
            if any(p.damaged for p in layout.photos) and not layout.skips:
                assert (code, "readable image" in printed) == (2, True), printed
                return
            assert code == 0, printed
            check(layout, found[0])
            monkeypatch.chdir(tmp_path)

    each()


@pytest.mark.fuzz
@pytest.mark.timeout(60 * tries(20))
def test_a_frozen_study_ends(
    before: Words, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = ("--mode", "freeze", "probe", "--trials", "3", "--confirm-seeds", "2", "--seeds", "2")

    @effort(20, shrink=False)
    @given(layout=layouts())
    def each(layout: Layout) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            monkeypatch.chdir(folder)
            words = layout.write(Path(folder))
            code, printed = outcome(
                run.main, (*before, *few, "--cache", "cache", "--name", "x", *words)
            )
            event(f"exit code {code}")
            if code == 2:
                assert "readable image" in printed or layout.aux, printed
                return
            assert code == 0, printed
            study = Path(folder) / "runs" / "x"
            assert (study / "report.html").is_file()
            about = json.loads((study / "study.json").read_text(encoding="utf-8"))
            assert sorted(about["data"]["classes"]) == sorted({p.label for p in layout.photos})
            scores = pd.read_csv(study / "confirm.csv")
            assert sorted(scores["mode"]) == ["freeze", "probe"]
            predicted = pd.read_csv(study / "winner" / "predictions.csv", keep_default_na=False)
            truth = {p.path: p.label for p in layout.photos}
            for name, label in zip(predicted["image"], predicted["label"], strict=True):
                assert truth[_path_of(layout, name)] == str(label)
            monkeypatch.chdir(tmp_path)

    each()


def check(layout: Layout, images: ImageSet) -> None:
    """The images are those of the layout, and each split keeps to its parts, groups and copies."""
    by_path = {p.path: p for p in layout.photos if not p.damaged}
    photos = [by_path.pop(_path_of(layout, name)) for name in images.ids]
    assert not by_path
    assert [images.classes[label] for label in images.labels] == [p.label for p in photos]
    if layout.aux:
        assert images.aux.known.tolist() == [has_label(p, layout.aux) for p in photos]
    for ratio, seed in itertools.product(_RATIOS, range(2)):
        check_split(layout, photos, images.split(ratio, 0, seed), ratio)


def _path_of(layout: Layout, name: str) -> str:
    part, _, rest = name.partition("/")
    return f"{dict(layout.places)[part]}/{rest}" if layout.form == "flags" else name


def check_split(layout: Layout, photos: list[Photo], split: Split, ratio: float) -> None:
    """One split."""
    sides = {name: [photos[i] for i in part] for name, part in vars(split).items()}
    everything = [*itertools.chain(*sides.values())]
    assert len({p.path for p in everything}) == len(everything)
    given = {part for part, _ in layout.places}
    tested = {p.pixels for p in photos if p.part == "test"}
    for name, side in sides.items():
        assert {p.label for p in side} == {p.label for p in photos}, name
        if name in given - {"train"}:
            own = [p for p in photos if p.part == name]
            own = [p for p in own if name == "test" or p.pixels not in tested]
            assert {p.path for p in side} == {p.path for p in own}
        elif given:
            assert {p.part for p in side} == {"train"}
    held_out = {p.pixels for p in (*sides["val"], *sides["test"])}
    assert not held_out & {p.pixels for p in sides["train"]}
    if layout.grouped:
        groups = [{p.group for p in side} for side in sides.values()]
        assert max(Counter(itertools.chain(*groups)).values()) == 1
    else:
        base = sum(p.part in ("", "train") for p in photos)
        assert len(sides["train"]) == pytest.approx(ratio * base, abs=0.06 * base + 3)
    assert all(np.diff(part).min() > 0 for part in vars(split).values())
