import pytest

from study.config.command_line import parse
from study.config.defaults import DEFAULTS, PRESETS
from study.config.settings import Settings, flag
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
    ("--lr -1", {"lr": ["-1"]}),
    ("--lr -1e-3 -1.E+2 -.5 -.5e3", {"lr": ["-1e-3", "-1.E+2", "-.5", "-.5e3"]}),
    ("--lr -inf --aux-weight -nan", {"lr": ["-inf"], "aux_weight": ["-nan"]}),
    ("--epochs -1e3 --debug", {"epochs": "-1e3", "debug": True}),
])  # fmt: skip
def test_only_what_is_given_comes_back_as_text(line: str, given: dict[str, object]) -> None:
    assert parse(line.split()) == given


@pytest.mark.parametrize(("line", "message"), [
    ("--learning-rate 1", "unrecognized arguments: --learning-rate 1"),
    ("--epoch 1", "unrecognized arguments: --epoch 1"),
    ("photos", "unrecognized arguments: photos"),
    ("--lr", "argument --lr: expected at least one argument"),
    ("--epochs", "argument --epochs: expected one argument"),
    ("--debug yes", "unrecognized arguments: yes"),
    ("--debug -1e-3", "unrecognized arguments: -1e-3"),
    ("--lr -1e", "argument --lr: expected at least one argument"),
    ("--lr -e3", "argument --lr: expected at least one argument"),
])  # fmt: skip
def test_unknown_words_exit_with_2(line: str, message: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(line.split())
    assert message in capsys.readouterr().err


def test_help_and_preset_list_exit_with_0(capsys: Capture) -> None:
    for words in (["--preset", "list"], ["--help"]):
        with pytest.raises(SystemExit, match="0"):
            parse(words)
    text = " ".join(capsys.readouterr().out.split())
    assert all(part in text for part in (
        *PRESETS, "--image-size 128", *map(flag, Settings.model_fields),
        "(default 10; demo 5; debug 10)", f"default {DEFAULTS['tracking_uri']}",
        "0 done, 2 bad input or a node that can't work, 3 done but some trials failed",
        "4 stopped as the disk is full, 130 interrupted",
    ))  # fmt: skip
