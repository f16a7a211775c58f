import subprocess
import sys
from pathlib import Path

import pytest

from study.preflight.checks import early_faults, look_at_data
from tests.support.studies.builders import make_settings
from tl_core.errors import Fault

MODE = "--mode frozen: must be 'freeze', 'finetune', 'lp_ft' or 'scratch'"


def test_settings_names_folders_and_data_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Path("runs/taken").mkdir(parents=True)
    given = {"mode": ["frozen"], "name": "taken", "data": str(tmp_path / "nowhere")}
    told = early_faults(given | {"tracking_uri": f"sqlite:///{tmp_path}/file/x.db"})
    assert [str(fault).split(": ")[0] for fault in told] == [
        "--mode frozen",
        "--name taken",
        f"--tracking-uri sqlite:///{tmp_path}/file/x.db",
        f"data folder {tmp_path}/nowhere does not exist; a folder, demo or oxford-pet is expected",
    ]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"mode": ["freeze"], "backbone": "resnet81"},
        {"mode": ["frozen"], "backbone": "resnet18"},
        {"mode": ["frozen"], "gpus": "99"},
        {"resume": "mine"},
        {"replay": "mine/0", "out": "elsewhere"},
    ],
)
def test_what_torch_must_be_asked_for_is_told_later(given: dict[str, object]) -> None:
    assert early_faults(given) == []


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"storage": "/tmp/x"}, "--storage /tmp/x: must be a URI such as s3://BUCKET/PATH"),
        ({"gpus": "-1"}, "--gpus -1: must be greater than or equal to 0"),
    ],
)
def test_a_value_that_is_at_fault_already_does_not_wait_for_torch(
    given: dict[str, str], fault: str
) -> None:
    [told] = map(str, early_faults(given))
    assert told.startswith(fault)
    assert early_faults(given | {"backbone": "resnet18"}) == []


def test_an_address_of_no_form_waits_for_nothing() -> None:
    given = {"address": "nonsense", "gpus": "4", "backbone": "resnet18", "storage": "s3://mine"}
    [told] = map(str, early_faults(given | {"data": "demo"}))
    assert told.startswith("--address nonsense: local, auto or HOST:PORT is expected")


def test_a_server_that_is_missing_is_told_with_what_else_is_known(nobody: str) -> None:
    given = {"mode": ["frozen"], "gpus": "0", "tracking_uri": nobody}
    mode, server = early_faults(given)
    assert str(mode) == MODE
    assert str(server).startswith(f"--tracking-uri {nobody}: ")
    assert early_faults({"resume": "mine", "tracking_uri": nobody}) == [server]
    assert early_faults({"mode": ["frozen"], "offline": True, "tracking_uri": nobody}) == [mode]


def test_nothing_is_downloaded_while_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object) -> None:
        raise AssertionError("a download has begun")

    monkeypatch.setattr("study.preflight.checks.find_source", download)
    faults = [Fault("--lr", "0: must be greater than 0")]
    assert look_at_data(make_settings(data="oxford-pet"), faults) is None
    assert len(faults) == 1


def test_wrong_settings_do_not_wait_for_torch(photo_folder: Path, own_cache: Path) -> None:
    code = (
        "import sys, study.run\n"
        f"code = study.run.main(['--mode', 'frozen', '--data', {str(photo_folder)!r}])\n"
        "print(code, sorted({'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "2 []\n"
    assert done.stderr == f"error: the study can't start\n  {MODE}\n"
    assert not own_cache.exists()
