"""The findings: what is run, that a rerun goes on, and the arithmetic of the page."""

import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.findings import __main__ as findings
from benchmarks.findings import page as findings_page
from benchmarks.findings.plot import plot
from benchmarks.findings.runs import Finished, Group, Plan, TrialContext, lr
from benchmarks.findings.tables import by_run, tables, told
from study.analysis.estimates import Estimate
from tests.conftest import SIDE, TINY
from tl_core.config import MODES, Mode, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.errors import InputError

PLAN = Plan(TINY, image_size=64, epochs=2, seeds=2)


def test_all_modes_run_at_both_ratios_under_the_same_conditions() -> None:
    configs = [
        context.config
        for context in PLAN.jobs()
        if context.group == "modes" and context.config.seed == 0
    ]
    assert {(c.mode, c.train_ratio) for c in configs} == {(m, r) for m in MODES for r in (0.1, 0.8)}
    assert {c.image_size for c in configs} == {64}
    assert {(c.train_ratio, c.epochs) for c in configs} == {(0.1, 10), (0.8, 2)}


def test_every_run_with_brightness_has_its_control_on_the_same_seeds() -> None:
    configs = {context.config for context in PLAN.jobs()}
    arms = [c for c in configs if c.aux_weight != 0]
    assert {c.backbone for c in arms} == {TINY, "shared_mlp"}
    assert {c.model_copy(update={"aux_weight": 0.0}) for c in arms} <= configs


def test_frozen_runs_come_first_and_on_more_seeds() -> None:
    modes = [context.config.mode for context in PLAN.jobs()]
    frozen = modes.count("freeze")
    assert set(modes[:frozen]) == {"freeze"}
    assert "freeze" not in modes[frozen:]
    assert {j.config.seed for j in PLAN.jobs() if j.config.mode == "freeze"} == set(range(10))
    assert {j.config.seed for j in PLAN.jobs() if j.config.mode != "freeze"} == {0, 1}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("freeze", 1e-3), ("finetune", 3e-4), ("lp_ft", 3e-5), ("scratch", 3e-4)],
)
def test_learning_rates_are_the_middle_of_the_search_ranges(mode: Mode, expected: float) -> None:
    assert lr(mode) == expected


def test_a_rerun_trains_only_what_the_file_lacks(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "run_all", _in_this_process)
    out, cache = tmp_path / "findings.json", tmp_path / "cache"
    jobs = [_tiny_job(seed) for seed in range(2)]
    findings.measure(jobs[:1], str(photo_folder), cache, out, processes=1)
    (first,) = findings.read(out)
    findings.measure(jobs, str(photo_folder), cache, out, processes=1)
    kept, second = findings.read(out)
    assert kept == first
    assert (second.config.seed, second.images, len(second.val_accuracy)) == (1, 40, 2)
    assert second.test.keys() >= {"test_accuracy", "test_log_loss", "test_brightness_r2"}
    assert second.environment.keys() >= {"versions", "hardware", "load_before"}
    assert str(tmp_path) not in out.read_text()


@pytest.mark.integration  # Processes that import torch take seconds to start.
def test_processes_find_what_one_process_does(images: ImageSet, tmp_path: Path) -> None:
    jobs, paths = [_tiny_job(seed) for seed in range(3)], {SIDE: images.path}
    found = {f.config: f.test for f in findings.run_all(jobs, paths, tmp_path, processes=2)}
    assert found == {f.config: f.test for f in _in_this_process(jobs, paths, tmp_path, 1)}


def test_a_file_of_other_runs_is_refused(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # A handler would outlive the test.
    out = tmp_path / "findings.json"
    out.write_text(_file([_finished("modes", "freeze", 0.8, 0, 0.9)]))
    args = ["--data", str(photo_folder), "--out", str(out), "--image-size", "32"]
    assert findings.main([*args, "--cache", str(tmp_path / "cache")]) == 2
    with pytest.raises(InputError, match="holds runs of other settings or images"):
        findings.measure([_tiny_job(0)], str(photo_folder), tmp_path / "cache", out, processes=1)


@pytest.mark.parametrize(
    ("estimate", "sign", "expected"),
    [
        (Estimate(0.9, 0.85, 0.95, 3), "", "0.900 [0.850, 0.950]"),
        (Estimate(0.01, -0.005, 0.025, 3), "+", "+0.010 [-0.005, +0.025]"),
        (Estimate(0.9, None, None, 1), "", "0.900 (one seed)"),
    ],
)
def test_an_interval_stands_behind_its_mean(estimate: Estimate, sign: str, expected: str) -> None:
    assert told(estimate, sign) == expected


def test_the_tables_hold_paired_differences() -> None:
    found = tables(_small_study())
    against_net, few_labels = found["the article's runs compared"]
    # 0.99 - 0.59 and 0.97 - 0.61: mean 0.38, half-width 12.706 * 0.0283 / sqrt(2) = 0.254.
    assert against_net["accuracy_a_less_b"] == "+0.380 [+0.126, +0.634]"
    assert against_net["by_accuracy_a_is"] == "better"
    assert few_labels["b"] == f"{TINY} freeze 0.1"
    (modes,) = found["modes compared"]
    assert (modes["a"], modes["b"], modes["seeds"]) == ("freeze", "finetune", 2)
    assert modes["by_accuracy_a_is"] == "cannot tell"
    (tasks,) = found["with and without brightness"]
    assert tasks["accuracy_with_less_without"] == "-0.020 [-0.020, -0.020]"
    assert tasks["the_task"] == "hurt"


def test_rounding_is_no_difference() -> None:
    """Frozen heads share nothing, so the second task changes the first one's digits at most."""
    study = [f for f in _small_study() if f.group != "tasks"]
    same = [f for f in study if f.group == "article" and f.run.mode == "freeze"]
    arms = [_with_task(f, 1e-9 * (2 + f.config.seed)) for f in same if f.run.train_ratio == 0.8]
    (row,) = tables([*study, *arms])["with and without brightness"]
    assert row["the_task"] == "cannot tell"


def test_each_run_tells_its_conditions_and_its_first_epoch() -> None:
    found = tables(_small_study())
    first, *_ = found["runs"]
    assert first["backbone"] == TINY
    assert (first["side_px"], first["epochs"], first["seeds"]) == (64, 2, 2)
    curve = found["validation accuracy by epoch"][0]
    assert curve["after_first"] == "0.500 [0.500, 0.500]"
    assert str(curve["best_of_all"]).startswith("0.800")


def test_every_figure_names_its_backbone() -> None:
    for rows in tables(_small_study()).values():
        assert all(TINY in str(row) or "mlp" in str(row) for row in rows)
    figure = plot(_small_study())
    assert TINY in figure.get_suptitle()
    labels = [t.get_text() for axes in figure.axes for t in axes.get_yticklabels()]
    assert len(labels) == len(by_run(_small_study()))
    assert any(text.startswith("mlp scratch 0.8") for text in labels)


def test_the_page_gets_its_tables_and_its_picture(tmp_path: Path) -> None:
    source, page = tmp_path / "findings.json", tmp_path / "findings.md"
    source.write_text(_file(_small_study()))
    page.write_text("<!-- findings | runs | group=article | mode seeds -->\nold\n<!-- end -->\n")
    findings_page.main([str(source), str(page)])
    assert "| freeze | 2 |" in page.read_text()
    assert "old" not in page.read_text()
    assert page.with_suffix(".png").stat().st_size > 0


def _in_this_process(
    jobs: Sequence[TrialContext], paths: dict[int, Path], cache: Path, processes: int
) -> Iterator[Finished]:
    for context in jobs:
        yield findings.run_one(context, paths[context.config.image_size], cache)


def _tiny_job(seed: int) -> TrialContext:
    shared = {"backbone": TINY, "weights": "none", "image_size": SIDE, "epochs": 2}
    config = TrialConfig(mode="scratch", train_ratio=0.5, lr=1e-3, seed=seed, **shared)
    return TrialContext(group="modes", config=config)


def _small_study() -> list[Finished]:
    """Two seeds of runs whose differences are easy to work out."""
    return [
        *_seeds("article", "freeze", 0.8, (0.99, 0.97)),
        *_seeds("article", "freeze", 0.1, (0.95, 0.96)),
        *_seeds("article", "scratch", 0.8, (0.59, 0.61), backbone="mlp"),
        *_seeds("modes", "freeze", 0.1, (0.8, 0.9)),
        *_seeds("modes", "finetune", 0.1, (0.7, 0.95)),
        *_seeds("tasks", "freeze", 0.8, (0.97, 0.95), aux_weight=0.3),
    ]


def _seeds(
    group: Group,
    mode: Mode,
    ratio: float,
    accuracies: tuple[float, ...],
    backbone: str = TINY,
    aux_weight: float = 0.0,
) -> list[Finished]:
    return [
        _finished(group, mode, ratio, seed, accuracy, backbone, aux_weight)
        for seed, accuracy in enumerate(accuracies)
    ]


def _finished(
    group: Group,
    mode: Mode,
    ratio: float,
    seed: int,
    accuracy: float,
    backbone: str = TINY,
    aux_weight: float = 0.0,
) -> Finished:
    config = TrialConfig(
        mode=mode,
        train_ratio=ratio,
        lr=1e-3,
        aux_weight=aux_weight,
        backbone=backbone,
        image_size=64,
        epochs=2,
        seed=seed,
    )
    return Finished(
        group=group,
        config=config,
        data="photos-64",
        images=40,
        test={
            "test_accuracy": accuracy,
            "test_log_loss": 1 - accuracy,
            "test_brightness_mae": 0.1,
            "test_brightness_r2": 0.5,
        },
        val_accuracy=[0.5, 0.8],
        wall_s=1.0,
        environment={},
    )


def _with_task(f: Finished, apart: float) -> Finished:
    """The same run with brightness as a second task, its log loss a little higher."""
    test = f.test | {"test_log_loss": f.test["test_log_loss"] + apart}
    config = f.config.model_copy(update={"aux_weight": 0.3})
    return f.model_copy(update={"group": "tasks", "config": config, "test": test})


def _file(found: list[Finished]) -> str:
    return json.dumps({"runs": [f.model_dump(mode="json") for f in found]})
