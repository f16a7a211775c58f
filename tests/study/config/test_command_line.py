import pytest

from study.config.command_line import parse
from study.config.defaults import DEFAULTS, PRESETS
from study.config.settings import Settings, flag


@pytest.mark.parametrize(
    ("line", "given"),
    [
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
    ],
)
def test_only_what_is_given_comes_back_as_text(line: str, given: dict[str, object]) -> None:
    assert parse(line.split()) == given


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--learning-rate 1", "unrecognized arguments: --learning-rate 1"),
        ("--epoch 1", "unrecognized arguments: --epoch 1"),
        ("photos", "unrecognized arguments: photos"),
        ("--lr", "argument --lr: expected at least one argument"),
        ("--epochs", "argument --epochs: expected one argument"),
        ("--debug yes", "unrecognized arguments: yes"),
        ("--debug -1e-3", "unrecognized arguments: -1e-3"),
        ("--lr -1e", "argument --lr: expected at least one argument"),
        ("--lr -e3", "argument --lr: expected at least one argument"),
    ],
)
def test_unknown_words_exit_with_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(line.split())
    assert message in capsys.readouterr().err


def test_preset_list_prints_every_preset_and_exits_with_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse(["--preset", "list"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in PRESETS)
    assert "--image-size 128" in printed


def test_help_shows_every_flag_its_default_and_the_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert all(flag(name) in words for name in Settings.model_fields)
    assert "(default 10; demo 5; debug 10)" in words
    assert f"default {DEFAULTS['tracking_uri']}" in words
    assert "0 done, 2 bad input or a node that can't work, 3 done but some trials failed" in words
    assert "4 stopped as the disk is full, 130 interrupted" in words
