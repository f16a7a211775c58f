"""Which trials are compared, and which factors matter."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.analysis.importances import ENOUGH, importances, scored
from study.analysis.study_data import StudyData, confirmed_of, read_study_data
from study.records.trial_record import TrialRecord
from tests.support.studies.builders import make_epoch, make_record, make_settings
from tests.support.studies.ray_runs import FinishedStudy
from tests.support.studies.synthetic import tiny_study
from tl_core.config import Mode


def test_confirming_trial_knows_its_source(tmp_path: Path) -> None:
    other = make_record(1, train_ratio=0.1, seed=5)
    other.kind, other.source, other.test = "confirm", 0, {"test_accuracy": 0.9}
    kept = make_record(3, seed=7)
    kept.kind, kept.source = "winner", 0
    (found,) = confirmed_of([other, kept], [make_record(0, train_ratio=0.2)])
    assert (found.source, found.trial, found.seed, found.borrowed_from) == (0, 1, 5, 0.2)
    assert (found.arm, found.scores) == ("cell", {"test_accuracy": 0.9})
    data = read_study_data(tiny_study().write(tmp_path / "tiny"))
    assert data.classification == "val_log_loss"
    assert data.model == tmp_path / "tiny" / "winner"


@pytest.mark.parametrize(("about", "labels"), [
    ({"mean_train_sizes": {"train_0.1": 37.6}}, 37.6), ({}, 18), ({"split_sizes": {}}, 20),
])  # fmt: skip
def test_labels_are_those_of_the_seeds_that_confirm_if_known(
    about: dict[str, Any], labels: float
) -> None:
    study = {"data": {"images": 200}, "split_sizes": {"val": 20, "train_0.1": 18}} | about
    assert StudyData(Path("mine"), study, []).labels(0.1) == labels


@pytest.mark.integration
def test_each_confirming_trial_has_a_score_of_each_test_image(
    finished_study: FinishedStudy, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished_study.folder, tmp_path / "copy")
    data = read_study_data(folder)
    assert data.confirmed
    for trial in data.confirmed:
        assert trial.images
        for name, values in trial.images.values.items():
            assert values.mean() == pytest.approx(trial.scores[name], abs=1e-6)
    (folder / "outputs" / f"{data.confirmed[0].trial}.npz").unlink()
    assert [bool(c.images) for c in read_study_data(folder).confirmed].count(False) == 1
    (folder / "outputs" / "targets.npz").unlink()
    assert not any(c.images for c in read_study_data(folder).confirmed)


SETTINGS = make_settings(mode=["freeze", "finetune"], train_ratio=["0.1", "0.8"])


def records_where_only_the_mode_matters(n: int) -> list[TrialRecord]:
    modes: list[Mode] = ["freeze", "finetune"]
    return [
        make_record(
            i, log_losses=(0.1 + 0.001 * (37 * i % 80) if i % 2 else 0.9,), mode=modes[i % 2],
            train_ratio=(0.1, 0.8)[i // 2 % 2], aux_weight=(i // 4 % 5) / 10,
        )
        for i in range(n)
    ]  # fmt: skip


def test_what_matters_comes_first_and_all_add_up() -> None:
    records = records_where_only_the_mode_matters(80)
    found = importances(SETTINGS, records)
    assert set(found) == {"mode", "train_ratio", "aux_weight", "lr_freeze", "lr_finetune"}
    assert next(iter(found)) == "mode"
    shares = [i.share for i in found.values()]
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert [name for name, i in found.items() if i.beyond_chance] == ["mode"]
    for record in records:  # Better is what the metric calls better.
        record.history = [make_epoch(val_accuracy=1 - record.history[0].val_log_loss)]
    by_accuracy = importances(SETTINGS.model_copy(update={"metric": "val_accuracy"}), records)
    assert {*by_accuracy} == {*found}
    assert all(i == pytest.approx(found[name]) for name, i in by_accuracy.items())
    fixed = make_settings(mode=["freeze"], train_ratio=["0.1"], lr=["1e-3"])
    records = [make_record(i, "done", (0.1 + i,), aux_weight=i / 100) for i in range(80)]
    assert importances(fixed, records) == {"aux_weight": (1.0, True)}, "others have one value"


def test_no_factor_of_noise_is_beyond_chance() -> None:
    rng, shares = np.random.default_rng(0), []
    for _ in range(5):
        records = records_where_only_the_mode_matters(80)
        for r, loss in zip(records, rng.normal(1, 0.1, 80), strict=True):
            rate = float(10 ** rng.uniform(-3.5, -3))  # In both modes' ranges.
            r.config = r.config.model_copy(update={"lr": rate})
            r.history = [make_epoch(val_log_loss=float(loss))]
        found = importances(SETTINGS, records)
        shares.append(max(i.share for i in found.values()))
        assert not [name for name, i in found.items() if i.beyond_chance]
    assert max(shares) > 0.4, "so a share alone tells nothing"


def test_a_ratio_that_most_trials_have_matters_if_nearly_all_of_the_best_have_it() -> None:
    # Of 64 trials of a joint search 31 are at 80 %, and 15 of the best 16 are among them.
    ratios = [0.8] * 15 + [0.3] + [0.8] * 16 + [0.01, 0.03, 0.1, 0.3] * 8
    rng, records = np.random.default_rng(0), []
    for i, ratio in enumerate(ratios):
        weight = float(rng.uniform(0, 0.5))
        loss = 0.1 + i / 1000
        records.append(make_record(i, log_losses=(loss,), train_ratio=ratio, aux_weight=weight))
    settings = make_settings(
        mode=["freeze"], train_ratio=["0.01", "0.03", "0.1", "0.3", "0.8"], lr=["1e-3"],
        aux_weight=["0", "0.5"],
    )  # fmt: skip
    found = importances(settings, records)
    assert [name for name, i in found.items() if i.beyond_chance] == ["train_ratio"]


def test_few_trials_give_no_importances() -> None:
    records = records_where_only_the_mode_matters(ENOUGH)
    assert importances(SETTINGS, records[:-1]) == {}
    assert importances(SETTINGS, records) != {}
    records[0].status = "failed"
    assert len(scored(records)) == ENOUGH - 1
    assert importances(SETTINGS, records) == {}
