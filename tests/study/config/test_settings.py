from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from study.config.defaults import DEBUG, DEFAULTS, DEMO
from study.config.settings import STORES, flag, is_range
from study.config.validate import resolve
from tests.support.studies.builders import make_settings


def test_defaults_hold_for_ones_own_data(tmp_path: Path) -> None:
    settings, _ = resolve({"data": "photos"})
    given = settings.model_dump()
    assert {name: given[name] for name in DEFAULTS} == DEFAULTS | {"data": "photos"}
    assert settings.backbone == "resnet18"
    assert settings.image_size == 224
    assert settings.cache == tmp_path / "cache"


def test_demo_lies_over_the_defaults() -> None:
    settings = make_settings()
    assert settings.data == "demo"
    given = settings.model_dump()
    assert {name: given[name] for name in DEMO} == DEMO
    assert settings.mode == DEFAULTS["mode"]


def test_debug_lies_over_the_demo() -> None:
    given = make_settings(debug=True).model_dump()
    assert {name: given[name] for name in DEBUG} == DEBUG
    assert given["backbone"] == DEMO["backbone"]


def test_preset_lies_over_debug() -> None:
    settings = make_settings(preset="multitask")
    assert settings.debug
    assert (settings.backbone, settings.mode) == ("shared_mlp", ("scratch",))
    assert (settings.train_ratio, settings.lr) == ((0.8,), (1e-3,))
    assert settings.aux_weight == (0.3,)
    assert settings.image_size == 128


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
    ("name", "value", "rule"),
    [
        ("image_size", "15", "must be greater than or equal to 16"),
        ("image_size", "1025", "must be less than or equal to 1024"),
        ("epochs", "0", "must be greater than or equal to 1"),
        ("epochs", "two", "must be a valid integer, unable to parse string as an integer"),
        ("batch_size", "0", "must be greater than or equal to 1"),
        ("batch_size", "1.5", "must be a valid integer, unable to parse string as an integer"),
        ("seed", "-1", "must be greater than or equal to 0"),
        ("seed", "1073741824", "must be less than 1073741824"),
        ("split_seed", "-1", "must be greater than or equal to 0"),
        ("trials", "0", "must be greater than or equal to 1"),
        ("gpus", "-1", "must be greater than or equal to 0"),
        ("gpus", "all", "must be a valid integer, unable to parse string as an integer"),
        ("trials_per_gpu", "0", "must be greater than or equal to 1"),
        ("seeds", "1001", "must be less than or equal to 1000"),
        ("confirm_seeds", "2147483648", "must be less than or equal to 1000"),
        ("metric", "accuracy", "must be 'val_log_loss', 'val_loss', 'val_accuracy', 'val_auroc', "
         "'val_brightness_mae' or 'val_brightness_r2'"),
        ("preset", "mpl", "must be one of freeze-large, freeze-small, finetune, mlp, multitask, "
         "multitask-transfer, resnet50"),
    ],
)  # fmt: skip
def test_value_out_of_range_is_told_with_its_rule(name: str, value: str, rule: str) -> None:
    _, faults = resolve({name: value})
    assert [*map(str, faults)] == [f"{flag(name)} {value}: {rule}"]


@pytest.mark.parametrize(
    ("name", "values", "rule"),
    [
        ("lr", ["0"], "must be greater than 0"),
        ("lr", ["-1e-3"], "must be greater than 0"),
        ("lr", ["nan"], "must be a finite number"),
        ("lr", ["inf"], "must be a finite number"),
        ("lr", ["fast"], "must be a valid number, unable to parse string as a number"),
        ("train_ratio", ["0"], "must be greater than 0"),
        ("train_ratio", ["0.81"], "must be less than or equal to 0.8"),
        ("train_ratio", ["nan"], "must be a finite number"),
        ("aux_weight", ["-0.1"], "must be a number from 0 to 1, or auto"),
        ("aux_weight", ["1.1"], "must be a number from 0 to 1, or auto"),
        ("aux_weight", ["auot"], "must be a number from 0 to 1, or auto"),
        ("mode", ["frozen"], "must be 'freeze', 'finetune', 'lp_ft' or 'scratch'"),
    ],
)
def test_factor_out_of_range_is_told_once(name: str, values: list[str], rule: str) -> None:
    _, faults = resolve({name: values})
    assert [*map(str, faults)] == [f"{flag(name)} {values[0]}: {rule}"]


@pytest.mark.parametrize(
    ("name", "values", "rule"),
    [
        ("lr", ["1e-2", "1e-3"], "a range needs its smaller end first"),
        ("lr", ["1e-2", "1e-2"], "a value is given twice"),
        ("aux_weight", ["0.5", "0"], "a range needs its smaller end first"),
        ("aux_weight", ["auto", "auto"], "a value is given twice"),
        ("mode", ["freeze", "freeze"], "a value is given twice"),
        ("train_ratio", ["0.1", "0.10"], "a value is given twice"),
    ],
)
def test_factor_with_wrong_values_together(name: str, values: list[str], rule: str) -> None:
    _, faults = resolve({name: values})
    assert [*map(str, faults)] == [f"{flag(name)} {' '.join(values)}: {rule}"]


@pytest.mark.parametrize("values", [["1e-3"], ["1e-4", "1e-2"], ["1e-2", "1e-3", "1e-4"]])
def test_lr_is_one_value_a_range_or_choices(values: list[str]) -> None:
    assert make_settings(lr=values).lr == tuple(map(float, values))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["auto"], ("auto",)),
        (["auto", "0"], ("auto", 0.0)),
        (["0", "0.3", "auto"], (0.0, 0.3, "auto")),
    ],
)
def test_auxiliary_weight_may_be_left_to_the_trial(
    words: list[str], values: tuple[float | str, ...]
) -> None:
    assert make_settings(aux_weight=words).aux_weight == values
    assert not is_range(values)


@pytest.mark.parametrize(("ratio", "weight"), [("1e-9", "0"), ("0.8", "1")])
def test_ends_of_the_ranges_are_in(ratio: str, weight: str) -> None:
    settings = make_settings(train_ratio=[ratio], aux_weight=[weight])
    assert (settings.train_ratio, settings.aux_weight) == ((float(ratio),), (float(weight),))


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "-x", ""])
def test_name_must_be_a_plain_folder_name(name: str) -> None:
    _, faults = resolve({"name": name})
    expected = "a folder name is expected, without / and not starting with . or -"
    assert [*map(str, faults)] == [f"--name {name}: {expected}"]


def test_all_faults_are_told_and_the_rest_can_still_be_checked() -> None:
    settings, faults = resolve({"lr": ["0"], "epochs": "0", "seed": "-1", "data": "photos"})
    assert len(faults) == 3
    assert (settings.lr, settings.epochs, settings.seed) == ((), 10, 0)
    assert settings.data == "photos"


def test_unknown_setting_is_refused() -> None:
    _, faults = resolve({"learning_rate": "1"})
    assert [*map(str, faults)] == ["--learning-rate 1: Extra inputs are not permitted"]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"debug": True, "trials": "3"}, "--trials is read by a study only, not by --debug"),
        ({"preset": "mlp", "trials": "3"}, "--trials is read by a study only, not by --debug"),
        (
            {"debug": True, "metric": "val_loss"},
            "--metric is read by a study only, not by --debug",
        ),
        (
            {"debug": True, "trials_per_gpu": "2"},
            "--trials-per-gpu is read by a study only, not by --debug",
        ),
        (
            {"debug": True, "lr": ["1e-3", "1e-2"]},
            "--lr takes one value in debug mode, not 2",
        ),
        (
            {"debug": True, "mode": ["freeze", "finetune", "lp_ft"]},
            "--mode takes one value in debug mode, not 3",
        ),
        (
            {"mode": ["scratch"], "weights": "default"},
            "--weights is not read by --mode scratch, which starts from random weights",
        ),
        (
            {"skip_bad_images": True},
            "--skip-bad-images is not read by --data demo, which is drawn",
        ),
    ],
)
def test_setting_that_nobody_reads_is_a_fault(given: dict[str, Any], fault: str) -> None:
    _, faults = resolve(given)
    assert [*map(str, faults)] == [fault]


def test_weights_are_read_where_one_of_the_modes_reads_them() -> None:
    assert make_settings(mode=["scratch", "freeze"], weights="none").weights == "none"


@pytest.mark.parametrize(("name", "spelling"), [("lr", "--lr"), ("split_seed", "--split-seed")])
def test_flag(name: str, spelling: str) -> None:
    assert flag(name) == spelling


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"mode": ["freeze"], "train_ratio": ["0.1"], "lr": ["1e-3"], "aux_weight": ["0"]},
            "--trials 12: every factor has one value, so all trials would be the same; "
            "use --trials 1 or --debug",
        ),
        (
            {"mode": ["freeze"], "trials_per_gpu": "2"},
            "--trials-per-gpu is not read by --mode freeze, which needs no GPU",
        ),
        (
            {"mode": ["freeze"], "compile": True},
            "--compile is not read by --mode freeze, which trains heads alone",
        ),
    ],
)
def test_study_that_would_repeat_itself_is_a_fault(given: dict[str, Any], fault: str) -> None:
    assert [*map(str, resolve(given)[1])] == [fault]


@pytest.mark.parametrize(
    ("uri", "shared"),
    [
        ("/tmp/x", "file:///tmp/x"),
        ("/tmp/a b", "file:///tmp/a%20b"),
        ("nothing", "file:///PATH"),
        ("", "file:///PATH"),
        ("s3:/x", "file:///PATH"),
        ("s3://", "file:///PATH"),
        ("s3:///x", "file:///PATH"),
        ("file://tmp/x", "file:///PATH"),
        ("foo://bucket/x", "file:///PATH"),
        ("mock:///x", "file:///PATH"),
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
    told = ""
    try:  # With an option that there is not, or the bucket would be sought in the network.
        fs.FileSystem.from_uri(f"{scheme}://bucket/x?nonsense=1")
    except (OSError, ValueError) as error:
        told = str(error)
    assert "Unrecognized filesystem type" not in told
