"""The list of checks: what the quick ones find, what they import, and that each runs once."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.preflight import checks, setup, torch_checks
from study.preflight.checks import PET, QUICK, Check, fit_ratios, run_checks
from study.preflight.prepare import prepare_new
from study.preflight.setup import Setup, new_setup
from study.preflight.torch_checks import CHECKS
from tests.support.studies.asking import QUICKEST
from tests.support.studies.builders import make_settings
from tl_core.errors import Fault, InputError


def quick_faults(**given: Any) -> list[str]:
    setup = new_setup(given)
    run_checks(setup, QUICK)
    return [*map(str, setup.faults)]


def test_settings_names_folders_and_data_are_checked_together(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Path("runs/taken").mkdir(parents=True)
    store = f"sqlite:///{tmp_path}/file/x.db"
    given = {"mode": ["frozen"], "name": "taken", "data": "nowhere", "tracking_uri": store}
    nowhere = f"data folder {tmp_path}/nowhere does not exist"
    kinds = "a folder, a table (.csv, .tsv, .parquet), demo or oxford-pet"
    assert quick_faults(**given) == [
        "--mode frozen: must be 'freeze', 'probe', 'partial', 'finetune', 'lp_ft' or 'scratch'",
        "--name taken: runs/taken exists; choose another name or remove it",
        f"--tracking-uri {store}: {tmp_path}/file is not a folder",
        f"{nowhere}; {kinds} is expected",
    ]
    assert len(quick_faults(**given, offline=True)) == 3


def test_the_name_of_a_study_tells_how_to_go_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.json").touch()
    go_on = f"python study/run.py --resume mine --out {tmp_path} goes on with it"
    why = f"{tmp_path}/mine exists; {go_on}, or choose another name or remove it"
    assert f"--name mine: {why}" in quick_faults(name="mine", out=str(tmp_path), data="nowhere")


def test_a_column_that_nothing_learns_is_noted() -> None:
    note = "--aux age is not learned at --aux-weight 0; a weight above 0 teaches it, as "
    note += "--aux-weight 0.3"
    given = {"data": "t.csv", "aux": "age", "debug": True}
    assert new_setup(given).notes == (note,)
    assert new_setup({"data": "t.csv", "debug": True}).notes == ()
    assert new_setup(given | {"aux": "none"}).notes == ()
    assert new_setup(given | {"aux_weight": ["0.3"]}).notes == ()
    assert new_setup(given | {"mode": ["lp_ft"]}).notes == (), "its heads are solved first"


def test_given_ratio_too_small_for_the_data(photo_folder: Path) -> None:
    # 0.01 of 50 images rounds up to one; each class has 20.
    assert quick_faults(data=str(photo_folder), train_ratio=["0.8", "0.02", "0.01"]) == [
        f"--train-ratio 0.01: class {name!r} has 20 images; train_ratio 0.01 needs 30 more to "
        "have one in training, validation and test each; the smallest ratio that fits it is 0.025"
        for name in ("cat", "dog")
    ]
    # A ratio at fault is replaced by the default ones, which are left out instead.
    assert quick_faults(data=str(photo_folder), train_ratio=["10"]) == [
        "--train-ratio 10: must be less than or equal to 1"
    ]


def test_cells_of_a_mode_at_fault_are_not_counted() -> None:
    assert [fault.split()[0] for fault in quick_faults(mode=["frezee"], trials="2")] == ["--mode"]


@pytest.mark.parametrize(("trials", "given", "product"), [
    ("7", {}, "8 (2 modes x 4 train ratios)"),  # 0.01 is left out: it is less than one image.
    ("8", {}, None),
    ("3", {"train_ratio": ["0.1", "0.4"]}, "4 (2 modes x 2 train ratios)"),
    ("3", {"train_ratio": ["0.1", "0.4"], "design": "joint"}, None),
    ("3", {"data": "demo"}, "4 (2 modes x 2 train ratios)"),
    ("1", {"data": "demo", "mode": ["probe"]}, "2 (1 mode x 2 train ratios)"),
    ("9", {"data": PET}, "10 (2 modes x 5 train ratios)"),
])  # fmt: skip
def test_each_cell_of_the_fitted_ratios_needs_a_trial(
    photo_folder: Path, trials: str, given: dict[str, Any], product: str | None
) -> None:
    fewer = "name fewer with --train-ratio or --mode, or use --design joint"
    why = f"--trials {trials}: --design cells needs one a cell, {product}; {fewer}"
    asked = {"data": str(photo_folder), "trials": trials, **given}
    assert quick_faults(**asked) == ([why] if product else [])


@pytest.mark.parametrize(("given", "trials"), [
    ({}, 2 * 4 * 8),
    ({"mode": ["probe", "freeze"]}, 4 * (1 + 8)),
    ({"mode": ["probe"]}, 4),
    ({"trials": "50"}, 50),
    ({"train_ratio": ["0.1"]}, 2 * 8),
])  # fmt: skip
def test_each_cell_of_the_fitted_ratios_has_eight_trials(
    photo_folder: Path, given: dict[str, Any], trials: int
) -> None:
    setup = new_setup({"data": str(photo_folder), **given})
    run_checks(setup, QUICK)
    assert setup.faults == []
    assert setup.left_out == (() if "train_ratio" in given else (0.01,))
    assert setup.settings.trials == trials


def test_a_data_folder_that_can_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "photos/cat")

    monkeypatch.setattr(checks, "find_data", fail)
    assert quick_faults(data="photos") == ["photos/cat: Permission denied"]


def test_faults_before_an_error_are_kept_and_later_checks_run() -> None:
    def one(_: Setup) -> Any:
        yield Fault("--lr", "1")
        raise InputError(["2"])

    setup = Setup(make_settings())
    other = Check("b", lambda _: [Fault(None, "3")])
    run_checks(setup, [Check("a", one), other])
    assert [*map(str, setup.faults)] == ["--lr 1", "2", "3"]
    with pytest.raises(InputError, match=r"^--lr 1\n2\n3$"):
        setup.raise_faults()


def test_the_list_begins_with_the_quick_checks_and_names_each_once() -> None:
    assert CHECKS[: len(QUICK)] == QUICK
    assert len({check.function for check in CHECKS}) == len(CHECKS)


def test_a_cache_that_can_not_be_read_is_told_from_the_data(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    closed = PermissionError(13, "Permission denied", str(cache / "images" / "x"))
    lost = FileNotFoundError(2, "No such file or directory", "photos/x")
    beside = PermissionError(13, "Permission denied", str(cache / "photos" / "x.jpg"))
    itself = PermissionError(13, "Permission denied", os.fsencode(cache))
    number = OSError(5, "Input/output error", 7)

    def raising(error: OSError) -> Check:
        def look(_: Setup) -> Iterator[Fault]:
            raise error

        return Check("folder", look)

    found = Setup(make_settings(cache=str(cache)))
    run_checks(found, [*map(raising, (closed, lost, beside, itself, number))])
    assert [*map(str, found.faults)] == [
        f"--cache {cache}: {cache}/images/x: Permission denied; use a folder that you can read"
        " and write",
        "photos/x: No such file or directory",
        f"{cache}/photos/x.jpg: Permission denied",
        f"--cache {cache}: {cache}: Permission denied; use a folder that you can read and write",
        "Input/output error",
    ]


@pytest.mark.parametrize(("given", "fault"), [
    ({"root": "x"}, "--root x: is read with a manifest alone (--data photos.csv)"),
    ({"group": "patient"}, "--group patient: names a column of a manifest (--data photos.csv); "
     "a folder takes --group-regex"),
    ({"aux": "age"}, "--aux age: names a column of a manifest (--data photos.csv); without one, "
     "brightness or none"),
    ({"train_ratio": ["0.1", "0.95", "0.9"]}, "--train-ratio 0.9: train_ratio 0.9 is above 0.8: "
     "validation and test each take 0.1 of the images"),
])  # fmt: skip
def test_what_is_wrong_is_told_before_a_download(given: dict[str, Any], fault: str) -> None:
    assert quick_faults(data=PET, **given) == [fault]
    assert quick_faults(data=PET) == []


def test_what_was_told_before_a_download_is_not_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch_checks, "has_oxford_pet", lambda _: True)
    setup = Setup(make_settings(data=PET), faults_by_name={"data": [Fault("--root", "x")]})
    assert [*torch_checks.check_pet(setup)] == []


def test_a_download_waits_until_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object) -> None:
        raise AssertionError("a download has begun")

    monkeypatch.setattr(checks, "find_data", download)
    setup = Setup(make_settings(data=PET), faults_by_name={"a": [Fault(None, "wrong")]})
    run_checks(setup, QUICK)
    assert [*torch_checks.check_pet(setup)] == []
    with pytest.raises(AssertionError):
        [*torch_checks.check_pet(Setup(make_settings(data=PET)))]


def test_a_start_resolves_asks_and_fits_once(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Counter[str]()
    server = "http://127.0.0.1:5000"
    ask = {"resolve": setup, "find_data": checks, "fit_ratios": checks}
    for name, module in (ask | {"check_server": torch_checks}).items():
        original = getattr(module, name.strip())

        def count(*args: Any, name: str = name.strip(), original: Any = original) -> Any:
            calls[name] += 1
            return None if name == "check_server" else original(*args)

        monkeypatch.setattr(module, name.strip(), count)
    prepare_new(QUICKEST | {"data": str(photo_folder), "tracking_uri": server})
    assert calls == dict.fromkeys(("resolve", "find_data", "fit_ratios", "check_server"), 1)
    assert fit_ratios is not checks.fit_ratios  # It was counted.


WRONG = {
    "--mode frozen": "--mode frozen: must be 'freeze'",
    "--name a/b --backbone resnet50": "--name a/b: a folder name is expected",
    "--lr 0 --weights nowhere.pth": "--lr 0: must be greater than 0",
    "--trials 0 --tracking-uri http://127.0.0.1:9": "--trials 0: must be greater than or equal",
    "--name taken --gpus 99": "--name taken: runs/taken exists",
    "--resume WRONG": "--resume WRONG: no study WRONG in runs/",
    "--extend WRONG --trials 3": "--extend WRONG: no study WRONG in runs/",
    "--replay WRONG/1": "--replay WRONG/1: no study WRONG in runs/",
    "--resume mine --tracking-uri sqlite:///taken/x.db --lr 1": "--lr is not read with --resume",
}


def test_what_needs_no_torch_is_found_without_it(own_cache: Path) -> None:
    Path("runs/taken").mkdir(parents=True)
    slow = "'torch', 'ray', 'mlflow', 'optuna', 'pandas', 'matplotlib', 'sklearn'"
    code = f"""
import sys
from study import doctor, run
try:
    run.main(["--help"])
except SystemExit:
    print("help", sorted({{{slow}}} & set(sys.modules)))
for words in {[*WRONG]}:
    code = run.main(words.split())
    print(code, sorted({{{slow}}} & set(sys.modules)))
print(doctor.main("--address nonsense --gpus 4".split()), sorted({{{slow}}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith("help []\n" + "2 []\n" * (len(WRONG) + 1))
    title = "error: the study can't start"
    faults = done.stderr.splitlines()
    assert faults[::2] == [title] * (len(WRONG) + 1)
    expected = [*WRONG.values(), "--address nonsense: local, auto or HOST:PORT is expected"]
    for fault, start in zip(faults[1::2], expected, strict=True):
        assert fault.startswith(f"  {start}")
    assert not own_cache.exists()
