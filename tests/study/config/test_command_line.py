"""Command lines to settings, and back."""

import re
import shlex
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config.command_line import parse, run_parser
from study.config.defaults import DEFAULTS
from study.config.presets import PRESETS
from study.config.program import PLACES, command_of
from study.config.settings import Settings, flag
from study.config.validate import resolve
from study.records.stored_settings import settings_of
from tests.support.studies.builders import make_settings
from tests.support.study_fixtures import Capture


@pytest.mark.parametrize(("line", "given"), [
    ("", {}),
    ("--debug", {"debug": True}),
    ("--lr 1e-3", {"lr": ["1e-3"]}),
    ("--mode freeze finetune --epochs 3", {"mode": ["freeze", "finetune"], "epochs": "3"}),
    ("--train-ratio 0.1 0.8 --debug", {"train_ratio": ["0.1", "0.8"], "debug": True}),
    ("--tracking-uri=sqlite:///x.db", {"tracking_uri": "sqlite:///x.db"}),
    ("--skip-bad-images --gpus 0", {"skip_bad_images": True, "gpus": "0"}),
    ("--preset mlp", {"preset": "mlp"}),
    ("--exclude a *_m.png --include *.png --exclude b",
     {"exclude": ["a", "*_m.png", "b"], "include": ["*.png"]}),
    ("--mode freeze --mode finetune --lr 1e-4 --lr 1e-2",
     {"mode": ["freeze", "finetune"], "lr": ["1e-4", "1e-2"]}),
    ("--seed 1 --seed 2", {"seed": "2"}),
    ("--lr -1", {"lr": ["-1"]}),
    ("--lr -1e-3 -1.E+2 -.5 -.5e3", {"lr": ["-1e-3", "-1.E+2", "-.5", "-.5e3"]}),
    ("--lr -inf --aux-weight -nan", {"lr": ["-inf"], "aux_weight": ["-nan"]}),
    ("--epochs -1e3 --debug", {"epochs": "-1e3", "debug": True}),
])  # fmt: skip
def test_only_what_is_given_comes_back_as_text(line: str, given: dict[str, object]) -> None:
    assert parse(line.split()) == given


@pytest.mark.parametrize(("line", "message"), [
    ("--grup patient", "unrecognized arguments: --grup patient (did you mean --group?)"),
    ("--grup=p --epoch 1",
     "unrecognized arguments: --grup=p --epoch 1 (did you mean --group or --epochs?)"),
    ("-lr 1e-3", "unrecognized arguments: -lr 1e-3 (did you mean --lr?)"),
    ("--min_steps 3", "unrecognized arguments: --min_steps 3 (did you mean --min-steps?)"),
    ("--xyzzy 1", "unrecognized arguments: --xyzzy 1"),
    ("photos", "unrecognized arguments: photos"),
    ("--lr", "argument --lr: expected at least one argument"),
    ("--epochs", "argument --epochs: expected one argument"),
    ("--resume a --extend b", "argument --extend: not allowed with argument --resume"),
    ("--augment crop --hflip", "argument --hflip: not allowed with argument --augment"),
    ("--hflip --augment crop", "argument --augment: not allowed with argument --hflip"),
    ("--debug yes", "unrecognized arguments: yes"),
    ("--debug -1e-3", "unrecognized arguments: -1e-3"),
    ("--lr -1e", "argument --lr: expected at least one argument"),
    ("--lr -e3", "argument --lr: expected at least one argument"),
])  # fmt: skip
def test_unknown_words_exit_with_2_and_the_flag_that_was_meant(
    line: str, message: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(line.split())
    assert capsys.readouterr().err == f"error: {message}; --help lists all flags\n"


@pytest.mark.parametrize(("script", "line", "message"), [
    ("doctor", "--grup p", "unrecognized arguments: --grup p (did you mean --group?)"),
    ("predict", "mine a.png --jsn", "unrecognized arguments: --jsn (did you mean --json?)"),
    ("report", "", "the following arguments are required: NAME"),
    ("sync", "mine --ot x", "unrecognized arguments: --ot x (did you mean --out?)"),
    ("manifest", "a --label-regexp x",
     "unrecognized arguments: --label-regexp x (did you mean --label-regex?)"),
])  # fmt: skip
def test_each_script_does_so(script: str, line: str, message: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        import_module(f"study.{script}").main(line.split())
    assert capsys.readouterr().err == f"error: {message}; --help lists all flags\n"


def test_help_and_preset_list_exit_with_0(capsys: Capture) -> None:
    for words in (["--preset", "list"], ["--help"]):
        with pytest.raises(SystemExit, match="0"):
            parse(words)
    text = " ".join(capsys.readouterr().out.split())
    assert all(part in text for part in (
        *PRESETS, "--image-size 128", *map(flag, Settings.model_fields),
        "(default 10; demo 4; debug 10)", f"default {DEFAULTS['tracking_uri']}",
        "0 done, 2 bad input, a node that can't work, or a --max-time that is too short however "
        "often the study goes on, 3 done but some trials failed, or a replay has other numbers, 4 "
        "the disk is full, 5 out of time: --resume goes on, or before the first trial the same "
        "command, 130 stopped",
    ))  # fmt: skip


def test_the_examples_go_on_with_the_study_that_the_first_one_names() -> None:
    lines = re.findall(r"study/run\.py (.*?)(?:   .*)?$", str(run_parser().epilog), re.MULTILINE)
    given = [parse(line.split()) for line in lines if "--preset list" not in line]
    name = given[0]["name"]
    later = [
        (key, each[key]) for each in given for key in ("replay", "resume", "extend") if key in each
    ]
    assert later == [("replay", f"{name}/7"), ("resume", name), ("extend", name)]


def assert_command_leads_to_the_same_settings(asked: Settings) -> None:
    python, script, *words = shlex.split(command_of(asked))
    assert (python, script) == ("python", "study/run.py")
    found, faults = resolve(parse(words))
    assert faults == []
    assert found.model_dump(exclude=PLACES) == asked.model_dump(exclude=PLACES)
    assert settings_of({"settings": asked.model_dump(mode="json")}) == asked


def test_the_help_of_a_flag_has_its_defaults() -> None:
    text = {action.dest: str(action.help) for action in run_parser()._actions}
    defaults = {"seed": "(default 0)", "split_seed": "(default 0)", "max_failures": "(default 2)"}
    defaults |= {"seeds": "(default 8; debug 1)", "mode": "(default freeze finetune; debug freeze)"}
    assert {name: text[name] for name in defaults if not text[name].endswith(defaults[name])} == {}
    for name in ("offline", "jobs", "lr", "group"):
        assert "(default" not in text[name]


def test_only_what_differs_from_the_defaults_is_written() -> None:
    asked = make_settings(name="mine", precision="bf16", out="elsewhere")
    assert command_of(asked) == (
        "python study/run.py --data demo --backbone efficientnet_lite0 --precision bf16 "
        "--out elsewhere"
    )
    assert command_of(make_settings(data="a", offline=True)).endswith(" --offline")


def test_a_new_study_has_the_store_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = make_settings(data="a", tracking_uri="http://host:5000", experiment="pets", cache="x")
    assert command_of(asked).endswith(" --tracking-uri http://host:5000 --experiment pets")
    assert_command_leads_to_the_same_settings(asked)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert "--tracking-uri" not in command_of(asked), "the environment names it"


@pytest.mark.parametrize("given", [
    {"data": "./cat dog"},
    {"data": "a", "exclude": ["lung masks", "*_mask.*"], "include": ["*.png"]},
    {"data": "a", "backbone": "timm:vit_small_patch16_224", "mode": ["finetune", "lp_ft"]},
    {"data": "mlp", "backbone": "mlp", "mode": ["scratch"], "lr": ["1e-5", "1e-2"]},
    {"augment": "flip", "confirm": False, "gpus": "0", "aux_weight": ["0", "0.5", "0.9"]},
    {"debug": True, "mode": ["freeze"], "lr": ["0.01"]},
    {"preset": "freeze-large"}, {"preset": "mlp", "schedule": "cosine"},
    {"data": "a", "mode": ["probe", "partial"], "unfreeze": ["1", "2"], "batchnorm": "train"},
    {"data": "a", "objective": "pareto", "trials": "5"},
    {"debug": True, "mode": ["probe"]}, {"data": "a", "offline": True},
    {"data": "-a", "group_regex": "-(x)", "exclude": ["-b", "c"], "out": "-runs"},
])  # fmt: skip
def test_command_leads_to_the_same_settings(given: dict[str, Any]) -> None:
    assert_command_leads_to_the_same_settings(make_settings(**given))


RATIOS = st.lists(st.floats(1e-6, 0.8).map(str), min_size=1, max_size=4, unique=True)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.fixed_dictionaries({}, optional={
    "data": st.sampled_from(["demo", "oxford-pet", "it's $HOME; a folder"]),
    "epochs": st.integers(1, 99).map(str), "train_ratio": RATIOS,
    "augment": st.sampled_from(["none", "flip"]),
    "metric": st.sampled_from(["val_log_loss", "val_auroc"]),
    "seed": st.integers(0, 2**30 - 1).map(str),
}))  # fmt: skip
def test_any_command_leads_to_the_same_settings(given: dict[str, Any]) -> None:
    assert_command_leads_to_the_same_settings(make_settings(**given))
