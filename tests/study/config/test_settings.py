from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from study.config.command_line import parse
from study.config.defaults import DEBUG, DEFAULTS, DEMO
from study.config.settings import STORES, Settings, is_range
from study.config.validate import resolve
from tests.support.studies.builders import make_settings

WHOLE = "must be a valid integer, unable to parse string as an integer"
TWICE, ORDER = "a value is given twice", "a range needs its smaller end first"


def faults_of(words: str) -> list[str]:
    _, faults = resolve(parse(words.split()))
    return [*map(str, faults)]


def values(settings: Settings, layer: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in layer}


def test_defaults_hold_for_ones_own_data(tmp_path: Path) -> None:
    settings, _ = resolve({"data": "photos"})
    assert values(settings, DEFAULTS) == DEFAULTS | {"data": "photos"}
    assert (settings.backbone, settings.image_size) == ("resnet18", 224)
    assert settings.cache == tmp_path / "cache"


def test_demo_debug_and_preset_lie_over_the_defaults_in_this_order() -> None:
    demo = make_settings()
    assert values(demo, DEMO) == DEMO
    assert (demo.data, demo.mode) == ("demo", DEFAULTS["mode"])
    debug = make_settings(debug=True)
    assert values(debug, DEBUG) == DEBUG
    assert debug.backbone == DEMO["backbone"]
    preset = make_settings(preset="multitask")
    assert preset.debug
    assert (preset.backbone, preset.mode, preset.image_size) == ("shared_mlp", ("scratch",), 128)
    assert (preset.train_ratio, preset.lr, preset.aux_weight) == ((0.8,), (1e-3,), (0.3,))


def test_what_is_given_lies_over_everything() -> None:
    settings = make_settings(preset="freeze-large", epochs="3", train_ratio=["0.2"], data="photos")
    assert (settings.epochs, settings.train_ratio, settings.data) == (3, (0.2,), "photos")
    assert settings.backbone == "resnet18"


@pytest.mark.parametrize(
    ("given", "side"),
    [
        ({"data": "photos", "backbone": "mlp", "mode": ["scratch"]}, 128),
        ({"data": "photos", "backbone": "shared_mlp", "mode": ["scratch"]}, 128),
        ({"data": "photos", "backbone": "vit_b_16"}, 224),
        ({"data": "photos", "backbone": "mlp", "image_size": "64"}, 64),
        ({"backbone": "resnet50"}, 128),
        ({"preset": "resnet50"}, 224),
    ],
)
def test_image_size_follows_backbone_unless_given(given: dict[str, Any], side: int) -> None:
    assert make_settings(**given).image_size == side


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("--image-size 15", "must be greater than or equal to 16"),
        ("--image-size 1025", "must be less than or equal to 1024"),
        ("--epochs 0", "must be greater than or equal to 1"),
        ("--epochs two", WHOLE),
        ("--batch-size 0", "must be greater than or equal to 1"),
        ("--batch-size 1.5", WHOLE),
        ("--seed -1", "must be greater than or equal to 0"),
        ("--seed 1073741824", "must be less than 1073741824"),
        ("--split-seed -1", "must be greater than or equal to 0"),
        ("--trials 0", "must be greater than or equal to 1"),
        ("--gpus -1", "must be greater than or equal to 0"),
        ("--gpus all", WHOLE),
        ("--trials-per-gpu 0", "must be greater than or equal to 1"),
        ("--seeds 1001", "must be less than or equal to 1000"),
        ("--confirm-seeds 2147483648", "must be less than or equal to 1000"),
        (
            "--metric accuracy",
            "must be 'val_log_loss', 'val_loss', 'val_accuracy', 'val_auroc', "
            "'val_brightness_mae' or 'val_brightness_r2'",
        ),
        ("--lr 0", "must be greater than 0"),
        ("--lr -1e-3", "must be greater than 0"),
        ("--lr nan", "must be a finite number"),
        ("--lr -inf", "must be a finite number"),
        ("--lr fast", "must be a valid number, unable to parse string as a number"),
        ("--train-ratio 0", "must be greater than 0"),
        ("--train-ratio 0.81", "must be less than or equal to 0.8"),
        ("--train-ratio nan", "must be a finite number"),
        ("--aux-weight -0.1", "must be a number from 0 to 1, or auto"),
        ("--aux-weight 1.1", "must be a number from 0 to 1, or auto"),
        ("--aux-weight auot", "must be a number from 0 to 1, or auto"),
        ("--mode frozen", "must be 'freeze', 'finetune', 'lp_ft' or 'scratch'"),
        ("--lr 1e-2 1e-3", ORDER),
        ("--aux-weight 0.5 0", ORDER),
        ("--lr 1e-2 1e-2", TWICE),
        ("--aux-weight auto auto", TWICE),
        ("--mode freeze freeze", TWICE),
        ("--train-ratio 0.1 0.10", TWICE),
    ],
)
def test_a_fault_has_flag_value_and_rule(words: str, rule: str) -> None:
    assert faults_of(words) == [f"{words}: {rule}"]


def test_an_unknown_preset_or_setting_is_refused() -> None:
    known = "freeze-large, freeze-small, finetune, mlp, multitask, multitask-transfer, resnet50"
    for given, fault in (
        ({"preset": "mpl"}, f"--preset mpl: must be one of {known}"),
        ({"learning_rate": "1"}, "--learning-rate 1: Extra inputs are not permitted"),
    ):
        assert [*map(str, resolve(given)[1])] == [fault]


@pytest.mark.parametrize(
    ("words", "lr"),
    [
        ("1e-3", (1e-3,)),
        ("1e-4 1e-2", (1e-4, 1e-2)),
        ("1e-2 1e-3 1e-4", (1e-2, 1e-3, 1e-4)),
    ],
)
def test_lr_is_one_value_a_range_or_choices(words: str, lr: tuple[float, ...]) -> None:
    assert make_settings(lr=words.split()).lr == lr
    assert is_range(lr) == (len(lr) == 2)


@pytest.mark.parametrize("weights", [("auto",), ("auto", 0.0), (0.0, 0.3, "auto")])
def test_auxiliary_weight_may_be_left_to_the_trial(weights: tuple[float | str, ...]) -> None:
    assert make_settings(aux_weight=[*map(str, weights)]).aux_weight == weights
    assert not is_range(weights)


@pytest.mark.parametrize(("ratio", "weight"), [("1e-9", "0"), ("0.8", "1")])
def test_ends_of_the_ranges_are_in(ratio: str, weight: str) -> None:
    settings = make_settings(train_ratio=[ratio], aux_weight=[weight])
    assert (settings.train_ratio, settings.aux_weight) == ((float(ratio),), (float(weight),))


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "-x", ""])
def test_name_must_be_a_plain_folder_name(name: str) -> None:
    rule = "a folder name is expected, without / and not starting with . or -"
    assert [*map(str, resolve({"name": name})[1])] == [f"--name {name}: {rule}"]


def test_all_faults_are_found_and_the_rest_can_still_be_checked() -> None:
    settings, faults = resolve({"lr": ["0"], "epochs": "0", "seed": "-1", "data": "photos"})
    assert [fault.flag for fault in faults] == ["--lr", "--epochs", "--seed"]
    assert (settings.lr, settings.epochs, settings.seed) == ((), 10, 0)
    assert settings.data == "photos"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("--debug --trials 3", "--trials is read by a study only, not by --debug"),
        ("--preset mlp --trials 3", "--trials is read by a study only, not by --debug"),
        ("--debug --no-confirm", "--no-confirm is read by a study only, not by --debug"),
        ("--debug --lr 1e-3 1e-2", "--lr takes one value in debug mode, not 2"),
        ("--debug --mode freeze finetune lp_ft", "--mode takes one value in debug mode, not 3"),
        (
            "--mode scratch --weights none",
            "--weights is not read by --mode scratch, which starts from random weights",
        ),
        ("--skip-bad-images", "--skip-bad-images is not read by --data demo, which is drawn"),
        (
            "--mode freeze --trials-per-gpu 2",
            "--trials-per-gpu is not read by --mode freeze, which needs no GPU",
        ),
        (
            "--mode freeze --compile",
            "--compile is not read by --mode freeze, which trains heads alone",
        ),
        (
            "--mode finetune --seeds 3",
            "--seeds is read by --mode freeze only; the other modes train one seed",
        ),
        (
            "--no-confirm --confirm-seeds 3",
            "--confirm-seeds is not read with --no-confirm",
        ),
        (
            "--objective pareto --train-ratio 0.1",
            "--objective pareto needs several ratios: --train-ratio 0.1 0.8",
        ),
        (
            "--objective pareto --design cells",
            "--objective pareto compares ratios; --design cells searches each alone",
        ),
        (
            "--design cells --trials 3",
            "--trials 3: --design cells needs one a cell, 6",
        ),
        (
            "--mode freeze --train-ratio 0.1 --lr 1e-3 --aux-weight 0",
            "--trials 12: every factor has one value, so all trials would be the same; "
            "use --trials 1 or --debug",
        ),
    ],
)
def test_a_setting_without_effect_is_a_fault(words: str, fault: str) -> None:
    assert faults_of(words) == [fault]


def test_weights_are_read_where_one_of_the_modes_reads_them() -> None:
    assert make_settings(mode=["scratch", "freeze"], weights="none").weights == "none"


@pytest.mark.parametrize(
    ("uri", "shared"),
    [
        ("/tmp/x", "file:///tmp/x"),
        ("/tmp/a b", "file:///tmp/a%20b"),
        *((uri, "file:///PATH") for uri in ("nothing", "", "s3:/x", "s3://", "s3:///x")),
        *((uri, "file:///PATH") for uri in ("file://tmp/x", "foo://bucket/x", "mock:///x")),
    ],
)
def test_a_storage_is_named_by_a_uri(uri: str, shared: str) -> None:
    rule = "must be a URI such as s3://BUCKET/PATH; a disk that all nodes share is"
    [fault] = resolve({"storage": uri})[1]
    assert str(fault) == f"--storage {uri}: {rule} {shared}"


@pytest.mark.parametrize("scheme", STORES)
def test_a_storage_of_each_kind_that_is_allowed_is_known_to_pyarrow(scheme: str) -> None:
    uri = "file:///tmp/x" if scheme == "file" else f"{scheme}://bucket/x"
    assert make_settings(storage=uri).storage == uri
    error = ""
    try:  # With an unknown option, or pyarrow would look for the bucket in the network.
        fs.FileSystem.from_uri(f"{scheme}://bucket/x?nonsense=1")
    except (OSError, ValueError) as refused:
        error = str(refused)
    assert "Unrecognized filesystem type" not in error
