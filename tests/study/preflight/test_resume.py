"""Studies that were run before: what is asked of them, and one that is extended."""

import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from study.config.command_line import parse
from study.config.program import command_of
from study.config.uris import store_name
from study.config.validate import change, resolve
from study.preflight.checks import PET, QUICK, run_checks
from study.preflight.prepare import prepare_replay
from study.preflight.resume import (
    FinishedError,
    _update,
    _variable_notes,
    continued_setup,
    find_replay,
)
from study.records.ledger import Ledger, read_records, read_state
from study.records.stored_settings import settings_of
from study.records.study_folder import LEDGER, from_here, resume_command
from study.run import main
from study.tracking.sync_state import SyncState, where_sent
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import all_runs, make_settings
from tests.support.studies.ray_runs import RayRun
from tests.support.studies.synthetic import large_study, tiny_study
from tl_core.errors import InputError


def fault_of(words: str) -> str:
    """The one fault of a command line that names a study."""
    given = parse(words.split())
    with pytest.raises(InputError) as caught:
        find_replay(given) if "replay" in given else continued_setup(given)
    (fault,) = caught.value.faults
    return str(fault)


UNKNOWN = "no study tyni in runs/; there are: tiny; --out names its folder"


@pytest.mark.parametrize(("words", "fault"), [
    ("--replay mine", "--replay mine: NAME/TRIAL is expected, as in demo/7"),
    ("--replay tiny/99", "--replay tiny/99: no such trial; it has 0 to 22"),
    ("--replay tyni/0", f"--replay tyni/0: {UNKNOWN}"),
    ("--replay tiny/0 --lr 1", "--lr is not read with --replay, which keeps the study's"),
    ("--extend tiny", "--extend requires --trials N (additional trials)"),
    ("--extend tyni --trials 2", f"--extend tyni: {UNKNOWN}"),
    ("--extend tiny --trials 0", "--trials 0: must be greater than or equal to 1"),
    ("--resume tyni", f"--resume tyni: {UNKNOWN}"),
    ("--resume tiny --lr 1", "--lr is not read with --resume, which keeps the study's"),
    ("--resume tiny --jobs abc", "--jobs abc: must be a valid integer"),
    ("--replay tiny/0 --gpus 99",
     "--gpus 99: a replay is one trial, on one GPU; use 1, or 0 for the CPU"),
    ("--extend tiny --trials 2 --epochs 3",
     "--epochs is not read with --extend, which keeps the study's"),
])  # fmt: skip
def test_a_study_that_can_not_be_continued(words: str, fault: str) -> None:
    tiny_study().write(Path("runs/tiny"))
    assert fault_of(words).startswith(fault)


def test_a_copy_is_not_continued_in_the_store_of_the_original() -> None:
    tiny_study().write(Path("runs/tiny"))
    uri = settings_of(json.loads(Path("runs/tiny/study.json").read_text())).tracking_uri
    SyncState(store_name(uri), runs={"study": "0123"}).save(Path("runs/tiny"))
    shutil.copytree("runs/tiny", "runs/copy")
    assert fault_of("--extend copy --trials 1").startswith(
        f"--extend copy: it is a copy of {Path('runs/tiny').resolve()}, whose runs in MLflow it"
    )
    Path("runs/copy/mlflow.json").write_text("{")
    why = "its files can't be read by this version of tl-study"
    assert fault_of("--extend copy --trials 1") == f"--extend copy: {why}"
    shutil.copy("runs/tiny/mlflow.json", "runs/copy")
    given = parse(["--extend", "copy", "--trials", "1", "--tracking-uri", "sqlite:///copy.db"])
    setup = continued_setup(given)
    assert setup.settings.tracking_uri == "sqlite:///copy.db"
    to, stay = f"sqlite:///{Path('copy.db').resolve()}", f"those in {store_name(uri)} stay as"
    assert setup.notes == (f"from now on this study's runs go to {to}; {stay} they are",)


@pytest.mark.parametrize("ledger", [None, "", '{"event": "st'])
def test_a_study_that_was_killed_before_its_first_trial_has_to_begin_again(
    ledger: str | None,
) -> None:
    tiny_study().write(Path("runs/tiny"))
    Path("runs/tiny", LEDGER).unlink()
    if ledger is not None:
        Path("runs/tiny", LEDGER).write_text(ledger)
    assert fault_of("--resume tiny") == (
        "--resume tiny: it was killed before its first trial, so there is nothing to go on with; "
        "remove runs/tiny and start it again"
    )


@pytest.mark.parametrize("data", ["photos", PET])
def test_a_replay_of_images_that_can_not_be_read_says_so(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "photos/cat")

    monkeypatch.setattr("study.preflight.checks.find_data", fail)
    Path(data).mkdir()
    tiny_study(data=data).write(Path("runs/tiny"))
    with pytest.raises(InputError, match=r"^photos/cat: Permission denied$"):
        prepare_replay(find_replay({"replay": "tiny/0"}))


RELATIVE = "paths of this study are relative to"
BACK = "put the data back, or make a link at"


@pytest.mark.parametrize(("given", "why"), [
    ({"train": "p/train", "test": "p/test"},
     f"{RELATIVE} /data, where it was started: run this command there, name the study by its path, "
     f"HERE/runs/tiny, and {BACK} those paths to where they are now: p/train, p/test"),
    ({"data": "photos"},
     f"{RELATIVE} /data, where it was started: run this command there, name the study by its path, "
     f"HERE/runs/tiny, and {BACK} that path to where they are now: photos"),
    ({"data": "/gone/photos"}, f"{BACK} that path to where they are now: /gone/photos"),
])  # fmt: skip
def test_data_that_are_gone_are_told_with_the_way_out(
    given: dict[str, str], why: str, own_folder: Path
) -> None:
    folder = tiny_study(**given).write(Path("runs/tiny"))
    why = why.replace("HERE", str(own_folder))
    with pytest.raises(InputError) as caught:
        find_replay({"replay": "tiny/0"})
    assert str(caught.value.faults[-1]) == why
    ledger = (folder / LEDGER).read_text()
    (folder / LEDGER).write_text(ledger.rpartition('{"event": "end"')[0])
    setup = continued_setup({"extend": "tiny", "trials": 1})
    run_checks(setup, QUICK)
    assert str(setup.faults[-1]) == why


@pytest.mark.parametrize("given", [
    {"train": "p/train", "test": "p/test"}, {"data": "photos"}, {"data": "a.csv", "root": "photos"},
])  # fmt: skip
def test_data_that_are_there_and_at_fault_need_no_way_back(given: dict[str, str]) -> None:
    tiny_study(**given).write(Path("runs/tiny"))
    for name in given.values():
        Path(name).mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        find_replay({"replay": "tiny/0"})
    assert RELATIVE not in str(caught.value)
    assert BACK not in str(caught.value)


def test_a_finished_study_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    tiny_study().write(Path("runs/tiny"))
    with pytest.raises(FinishedError, match=r"^tiny is finished, with 3 trials: nothing to resume"):
        continued_setup({"resume": "tiny"})
    assert main(["--resume", "tiny"]) == 0
    assert capsys.readouterr().out.endswith(
        "python study/run.py --extend tiny --trials N adds more\n"
    )


@pytest.mark.parametrize("given", [{"resume": "tiny"}, {"extend": "tiny", "trials": 3}])
def test_a_study_that_is_running_is_refused_before_anything_is_waited_for(
    given: dict[str, Any],
) -> None:
    folder = replace(tiny_study(), confirm_seeds=0).write(Path("runs/tiny"))
    other = Ledger(folder)
    other.study("tiny", read_state(folder).about, again=True)
    with pytest.raises(InputError, match=r"^another run of tiny is using runs/tiny$"):
        continued_setup(given)
    other.close("interrupted", [])
    continued_setup(given)
    Ledger(folder).close("interrupted", [])  # Nothing holds the lock.


@pytest.mark.parametrize(("words", "name", "out"), [
    ("--resume mine", "mine", " --out elsewhere"),
    ("--resume elsewhere/other", "other", " --out elsewhere"),
    ("--resume runs/tiny", "tiny", ""),
    ("--resume away/tiny", "tiny", " --out away"),
])  # fmt: skip
def test_commands_name_the_folder_where_the_study_was_found(
    words: str, name: str, out: str
) -> None:
    folder = Path(out.removeprefix(" --out ") or "runs") / name
    tiny_study().write(folder)
    asked = words.replace("mine", "mine --out elsewhere")
    told = f"{name} is finished, with 3 trials: nothing to resume; python study/run.py "
    with pytest.raises(FinishedError) as caught:
        continued_setup(parse(asked.split()))
    assert str(caught.value) == f"{told}--extend {name}{out} --trials N adds more"
    setup = continued_setup(parse(f"{asked.replace('resume', 'extend')} --trials 1".split()))
    assert setup.folder == folder
    command = resume_command(setup.folder)
    assert command == f"python study/run.py --resume {name}{out}"
    with pytest.raises(FinishedError):
        continued_setup(parse(command.split()[2:]))


def test_the_files_of_a_study_in_a_bucket_keep_its_first_name(tmp_path: Path) -> None:
    folder = tiny_study(name="first", storage=tmp_path.as_uri()).write(Path("runs/renamed"))
    setup = continued_setup({"extend": "renamed", "trials": "1"})
    assert (setup.folder, setup.settings.name) == (folder, "first")
    command = resume_command(setup.folder)
    with pytest.raises(FinishedError, match=r"run.py --extend renamed --trials N adds more$"):
        continued_setup(parse(command.split()[2:]))


@pytest.mark.parametrize("folder", ["runs/.hidden", "runs/-x", "-x", "~/mine", "elsewhere/~"])
def test_a_folder_that_no_new_study_could_have_goes_on(folder: str) -> None:
    tiny_study().write(Path.cwd() / folder)
    setup = continued_setup({"extend": f"./{folder}", "trials": "1"})
    assert setup.folder == Path(folder)
    stored = {"settings": setup.settings.model_dump(mode="json")}
    assert settings_of(stored) == setup.settings, "what it stores can be read again"
    _, _, *words = shlex.split(resume_command(setup.folder))
    with pytest.raises(FinishedError) as caught:
        continued_setup(parse(words))
    told = str(caught.value).partition("nothing to resume; ")[2].removesuffix(" adds more")
    _, _, *words = shlex.split(told.replace("--trials N", "--trials 1"))
    assert continued_setup(parse(words)).folder == Path(folder)


def test_a_single_trial_is_neither_resumed_nor_extended() -> None:
    folder = tiny_study().write(Path("runs/mine"))
    ledger = (folder / "ledger.jsonl").read_text()
    (folder / "ledger.jsonl").write_text(ledger.replace('"debug": false', '"debug": true'))
    assert fault_of("--resume mine") == "--resume mine: a single trial takes no --resume"
    assert fault_of("--extend mine --trials 2") == "--extend mine: a single trial takes no --extend"


@pytest.mark.parametrize(
    "text", ["{}\n", "{\n", "[]\n", '{"event": "study", "name": "tiny", "about": {}, "at": 0}\n']
)
def test_ledger_that_cannot_be_read_is_reported(text: str) -> None:
    folder = tiny_study().write(Path("runs/tiny"))
    (folder / "ledger.jsonl").write_text(text)
    why = "its files can't be read by this version of tl-study"
    assert fault_of("--replay tiny/0") == f"--replay tiny/0: {why}"


def test_settings_that_every_study_has_must_be_there() -> None:
    ledger = tiny_study().write(Path("runs/tiny")) / "ledger.jsonl"
    first, *others = ledger.read_text().splitlines()
    event = json.loads(first)
    del event["about"]["settings"]["metric"]
    ledger.write_text("\n".join([json.dumps(event), *others, ""]))
    why = "its files can't be read by this version of tl-study"
    assert fault_of("--resume tiny") == f"--resume tiny: {why}"


def test_a_study_may_get_fewer_trials_more_than_it_has_cells() -> None:
    given = tiny_study(mode=["freeze", "finetune"], train_ratio=["0.1", "0.8"], trials="4")
    given.write(Path("runs/tiny"))
    assert continued_setup({"extend": "tiny", "trials": "1"}).settings.trials == 5


def test_flags_that_no_mode_of_the_study_reads_are_refused() -> None:
    tiny_study(mode=["freeze"]).write(Path("runs/tiny"))
    given = {"extend": "tiny", "trials": "1", "jobs": "2", "checkpoint_every": "5", "gpus": "0"}
    why = "is read by --mode partial, finetune, lp_ft or scratch only; leave it out"
    faults = [f"--jobs {why}", f"--checkpoint-every {why}"]
    assert [*map(str, continued_setup(given).setting_faults)] == faults
    new = {name: value for name, value in given.items() if name != "extend"}
    assert [*map(str, resolve(new | {"mode": ["freeze"]})[1])] == faults
    tiny_study("net").write(Path("runs/net"))
    assert continued_setup(given | {"extend": "net"}).setting_faults == []


def test_probes_alone_are_not_extended() -> None:
    large_study("probes", mode=["probe"], trials="5").write(Path("runs/probes"))
    assert fault_of("--extend probes --trials 3") == (
        "--extend probes: a probe tunes itself and takes one trial: there is nothing to add"
    )


@pytest.mark.integration
def test_a_study_that_is_extended_is_one_study(
    ray_run: RayRun, uri: str, photo_folder: Path, tiny_weights: Path, client: MlflowClient
) -> None:
    first = ray_run.start(
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--mode", "freeze", "--train-ratio", 0.2, 0.4,
        "--epochs", 2, "--min-steps", 0, "--trials", 3,
        "--confirm-seeds", 2, "--name", "mine", "--tracking-uri", uri,
    )  # fmt: skip
    ray_run.succeed(first)
    parent, *_ = all_runs(client)
    more = ray_run.start("--extend", "mine", "--trials", 2, "--tracking-uri", uri)
    printed = ray_run.succeed(more)
    assert "mine: 2 more trials of" in printed

    records = read_records(Path("runs/mine"))
    # At 0.4 there were two configurations to choose from.
    stages = ["search"] * 3 + ["repeat"] * 2 + ["confirm"] * 4 + ["winner"]
    assert [r.kind for r in records[:12]] == stages + ["search"] * 2
    ran = {(r.kind, r.config) for r in records[:10]}
    # The winner's, for its weights, if another's were made in between.
    assert sum((r.kind, r.config) in ran for r in records[12:]) <= 1
    assert len(pd.read_csv("runs/mine/trials.csv")) == 5
    assert len(pd.read_csv("runs/mine/confirm.csv")) == 2
    study = json.loads(Path("runs/mine/study.json").read_text())
    assert (study["status"], study["settings"]["trials"]) == ("done", 5)
    runs = all_runs(client)
    assert [run.info.run_id for run in runs if run.data.tags["tl_study.kind"] == "study"] == [
        parent.info.run_id
    ]
    assert len(runs) == 1 + len(records)
    assert {run.info.status for run in runs} == {"FINISHED"}
    # Its weights were made once more, perhaps by another winner.
    assert str(client.get_model_version_by_alias("mine", "best").version) in ("1", "2")


def test_a_folder_below_is_named_relative_to_the_working_folder(own_folder: Path) -> None:
    assert from_here(own_folder / "runs" / "mine") == Path("runs/mine")
    assert from_here(own_folder.parent / "mine") == own_folder.parent / "mine"
    assert from_here(own_folder) == own_folder


@pytest.mark.parametrize(("given", "offline"), [
    ({}, True),
    ({"max_failures": "3"}, True),
    ({"tracking_uri": "sqlite:///a.db"}, False),
    ({"tracking_uri": "sqlite:///a.db", "offline": True}, True),
])  # fmt: skip
def test_a_study_that_sent_nothing_sends_when_a_uri_is_given(
    given: dict[str, object], offline: bool
) -> None:
    assert _update(make_settings(offline=True), given).offline is offline


def test_a_resumed_study_keeps_its_store_and_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = make_settings(tracking_uri="http://host", experiment="dogs")
    offline = make_settings(offline=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@other")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "cats")
    settings = _update(before, {})
    assert (settings.tracking_uri, settings.experiment) == ("http://host", "dogs")
    assert [*_variable_notes(settings, before, {})] == [
        "MLFLOW_TRACKING_URI is not read, as this study's runs are in http://host; "
        "--tracking-uri moves them",
        "MLFLOW_EXPERIMENT_NAME is not read, as this study's runs are in dogs",
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host")
    settings = _update(before, {})
    assert settings.tracking_uri == "http://me:secret@host"
    assert len([*_variable_notes(settings, before, {})]) == 1
    assert [*_variable_notes(offline, offline, {})] == []


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_settings(cache="kept")
    monkeypatch.delenv("TL_STUDY_CACHE")
    assert _update(before, {}).cache == Path("kept")
    monkeypatch.setenv("TL_STUDY_CACHE", f"{tmp_path}/other")
    moved = _update(before, {})
    note = f"the cache is {tmp_path}/other, as TL_STUDY_CACHE says; it was kept"
    assert [*_variable_notes(moved, before, {})] == [note]
    given = {"cache": "mine"}
    asked = _update(before, given)
    assert asked.cache == Path("mine")
    assert [*_variable_notes(asked, before, given)] == []


def test_a_store_that_was_not_named_is_in_no_command_of_a_resumed_study(own_folder: Path) -> None:
    before = make_settings(data="photos", tracking_uri="sqlite:///mlflow.db")
    SyncState(store_name(before.tracking_uri)).save(own_folder)
    # An earlier version stored the store's own name.
    stored = change(before, {"tracking_uri": store_name(before.tracking_uri)})
    for settings in (before, stored):
        again = where_sent(settings, own_folder)
        assert again == before
        assert "tracking-uri" not in command_of(again)
    named = change(before, {"tracking_uri": "sqlite:///mine.db"})
    SyncState(store_name(named.tracking_uri)).save(own_folder)
    assert where_sent(named, own_folder) == named
    assert "--tracking-uri sqlite:///mine.db" in command_of(named)


def test_a_store_that_was_typed_relative_stays_where_it_is(own_folder: Path) -> None:
    before = make_settings(tracking_uri="sqlite:///mlflow.db")
    SyncState(f"sqlite:///{own_folder}/mlflow.db").save(own_folder)
    there = own_folder / "elsewhere"
    there.mkdir()
    os.chdir(there)
    assert where_sent(before, own_folder).tracking_uri == f"sqlite:///{own_folder}/mlflow.db"
    # All was moved: what was typed is beside the study again.
    SyncState("sqlite:////moved/mlflow.db").save(own_folder)
    assert where_sent(before, own_folder) == where_sent(before, there) == before
