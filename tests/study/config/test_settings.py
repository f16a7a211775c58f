from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pyarrow import fs

from study.config.command_line import parse
from study.config.defaults import DEBUG, DEFAULTS, DEMO
from study.config.presets import PRESETS
from study.config.program import command_of
from study.config.settings import Settings
from study.config.validate import resolve
from study.config.values import STORES, is_range
from study.search.space import single_config
from tests.support.studies.builders import make_settings


def faults_of(words: str) -> list[str]:
    _, faults = resolve(parse(words.split()))
    return [*map(str, faults)]


def assert_has(settings: Settings, layer: dict[str, Any]) -> None:
    assert {name: getattr(settings, name) for name in layer} == layer


METRICS = (
    "'val_log_loss', 'val_loss', 'val_accuracy', 'val_balanced_accuracy', 'val_macro_f1', "
    "'val_auroc', 'val_brightness_mae'"
)


def _words(kind: object) -> Iterator[str]:
    for each in get_args(kind):
        yield from [each] if isinstance(each, str) else _words(each)


def test_help_lists_all_words_that_a_flag_takes() -> None:
    for name, field in Settings.model_fields.items():
        for word in _words(field.annotation):
            assert word in str(field.description), name


def test_defaults_hold_for_ones_own_data(tmp_path: Path) -> None:
    settings, _ = resolve({"data": "photos"})
    assert_has(settings, DEFAULTS | {"data": "photos"})
    assert_has(settings, {"backbone": "resnet18", "image_size": 224, "cache": tmp_path / "cache"})


def test_demo_debug_preset_and_what_is_given_lie_over_the_defaults_in_this_order() -> None:
    assert_has(make_settings(), DEMO | {"data": "demo", "mode": DEFAULTS["mode"]})
    assert_has(make_settings(debug=True), DEBUG | {"backbone": DEMO["backbone"]})
    article = {"backbone": "shared_mlp", "mode": ("scratch",), "image_size": 128, "debug": True}
    article |= {"train_ratio": (0.8,), "lr": (1e-3,), "aux_weight": (0.3,)}
    assert_has(make_settings(preset="multitask"), article)
    given = {"epochs": "3", "train_ratio": ["0.2"], "data": "photos"}
    expected = {"epochs": 3, "train_ratio": (0.2,), "data": "photos", "backbone": "resnet18"}
    assert_has(make_settings(preset="freeze-large", **given), expected)


@pytest.mark.parametrize(("given", "side"), [
    ({"data": "photos", "backbone": "mlp", "mode": ["scratch"]}, 128),
    ({"data": "photos", "backbone": "shared_mlp", "mode": ["scratch"]}, 128),
    ({"data": "photos", "backbone": "vit_b_16"}, 224),
    ({"data": "photos", "backbone": "mlp", "image_size": "64"}, 64),
    ({"backbone": "resnet50"}, 64),
    ({"preset": "resnet50"}, 224),
])  # fmt: skip
def test_image_size_follows_backbone_unless_given(given: dict[str, Any], side: int) -> None:
    assert make_settings(**given).image_size == side


@pytest.mark.parametrize(("rule", "lines"), [
    ("must be greater than or equal to 1",
     "--epochs 0, --batch-size 0, --trials 0"),
    ("must be a whole number from 1, or auto",
     "--trials-per-gpu 0, --trials-per-gpu 1.5, --trials-per-gpu many"),
    ("must be greater than or equal to 0", "--seed -1, --split-seed -1, --gpus -1"),
    ("must be greater than or equal to 16", "--image-size 15"),
    ("must be less than or equal to 1024", "--image-size 1025"),
    ("must be less than or equal to 1000", "--seeds 1001, --confirm-seeds 2147483648"),
    ("must be less than 1073741824", "--seed 1073741824"),
    ("must be a valid integer, unable to parse string as an integer",
     "--epochs two, --batch-size 1.5, --gpus all"),
    ("must be a valid number, unable to parse string as a number", "--lr fast"),
    (f"must be {METRICS} or 'val_brightness_r2'; trials can't be chosen by the score of a column",
     "--metric accuracy, --metric val_age_mae"),
    ("must be greater than 0", "--lr 0, --lr -1e-3, --train-ratio 0"),
    ("must be a finite number", "--lr nan, --lr -inf, --train-ratio nan"),
    ("must be less than or equal to 1", "--train-ratio 1.01"),
    ("must be a number from 0 to 1, or auto",
     "--aux-weight -0.1, --aux-weight 1.1, --aux-weight auot"),
    ("must be 'freeze', 'probe', 'partial', 'finetune', 'lp_ft' or 'scratch'", "--mode frozen"),
    ("a range needs its smaller end first", "--lr 1e-2 1e-3, --aux-weight 0.5 0"),
    ("a value is given twice", "--lr 1e-2 1e-2, --aux-weight auto auto, --mode freeze freeze, "
     "--train-ratio 0.1 0.10"),
    ("a folder name is expected, without / and not starting with . or -",
     "--name a/b, --name .., --name .hidden"),
])  # fmt: skip
def test_a_fault_has_flag_value_and_rule(rule: str, lines: str) -> None:
    for words in lines.split(", "):
        assert faults_of(words) == [f"{words}: {rule}"]


@pytest.mark.parametrize(("name", "words", "values"), [
    ("lr", "1e-3", (1e-3,)), ("lr", "1e-4 1e-2", (1e-4, 1e-2)),
    ("lr", "1e-2 1e-3 1e-4", (1e-2, 1e-3, 1e-4)), ("train_ratio", "1e-9", (1e-9,)),
    ("train_ratio", "0.8", (0.8,)), ("aux_weight", "0", (0.0,)), ("aux_weight", "1", (1.0,)),
    ("aux_weight", "auto", ("auto",)), ("aux_weight", "auto 0", ("auto", 0.0)),
    ("aux_weight", "0 0.3 auto", (0.0, 0.3, "auto")),
])  # fmt: skip
def test_one_value_a_range_or_choices(name: str, words: str, values: tuple[Any, ...]) -> None:
    assert getattr(make_settings(**{name: words.split()}), name) == values
    assert is_range(values) == (len(values) == 2 and "auto" not in values)


def test_all_faults_are_found_and_the_rest_can_still_be_checked() -> None:
    given = {"lr": ["0"], "epochs": "0", "seed": "-1", "name": "-x", "learning_rate": "1"}
    settings, faults = resolve(given | {"data": "photos"})
    flags = ["--lr", "--epochs", "--seed", "--name", "--learning-rate"]
    assert [fault.flag for fault in faults] == flags
    assert str(faults[-1]) == "--learning-rate 1: Extra inputs are not permitted"
    assert (settings.lr, settings.epochs, settings.seed) == ((), 10, 0)
    assert settings.data == "photos"
    assert (
        str(resolve({"preset": "mpl"})[1][0])
        == f"--preset mpl: must be one of {', '.join(PRESETS)}"
    )
    assert make_settings(mode=["scratch", "freeze"], weights="none").weights == "none"


@pytest.mark.parametrize(("words", "flags"), [
    ("--mode partal --unfreeze 2", ["--mode"]),
    ("--mode prob --trials 9 --aux-weight 0 --lr 1e-3 --train-ratio 0.1", ["--mode"]),
    ("--data t.csv --aux coat --aux-type text --aux-target raw", ["--aux-type"]),
    ("--train-ratio 7 --objective pareto --design joint", ["--train-ratio"]),
    # The other rules still hold.
    ("--mode partal --unfreeze 2 --no-confirm --confirm-seeds 3", ["--mode", "--confirm-seeds"]),
])  # fmt: skip
def test_no_rule_reads_the_default_in_place_of_a_value_at_fault(
    words: str, flags: list[str]
) -> None:
    _, faults = resolve(parse(words.split()))
    assert [fault.flag for fault in faults] == flags


@pytest.mark.parametrize(("words", "fault"), [
    ("--debug --trials 3", "--trials is read by a study only, not by --debug"),
    ("--preset mlp --trials 3", "--trials is read by a study only, not by --debug"),
    ("--debug --no-confirm", "--no-confirm is read by a study only, not by --debug"),
    ("--debug --lr 1e-3 1e-2", "--lr takes one value in debug mode, not 2"),
    ("--debug --mode freeze finetune lp_ft", "--mode takes one value in debug mode, not 3"),
    ("--mode scratch --weights none",
     "--weights is read by --mode freeze, probe, partial, finetune or lp_ft only; leave it out"),
    ("--skip-bad-images", "--skip-bad-images is not read by --data demo, which is drawn"),
    ("--exclude masks", "--exclude is read by --data FOLDER only, not by demo"),
    ("--data oxford-pet --include *.jpg",
     "--include is read by --data FOLDER only, not by oxford-pet"),
    ("--data photos --exclude masks !a", "--exclude masks !a: a pattern as in a .gitignore file is "
     "expected, such as masks or *_mask.png; it can't begin with ! or #"),
    ("--data photos --exclude masks --exclude masks",
     "--exclude masks masks: a value is given twice"),
    ("--mode freeze --trials-per-gpu 2",
     "--trials-per-gpu is read by --mode partial, finetune, lp_ft or scratch only; leave it out"),
    ("--mode freeze --compile",
     "--compile is read by --mode partial, finetune, lp_ft or scratch only; leave it out"),
    ("--mode finetune --seeds 3", "--seeds is read by --mode freeze or probe only; leave it out"),
    ("--mode probe --lr 1e-3",
     "--lr is read by --mode freeze, partial, finetune, lp_ft or scratch only; leave it out"),
    ("--mode probe --epochs 3",
     "--epochs is read by --mode freeze, partial, finetune, lp_ft or scratch only; leave it out"),
    ("--mode lp_ft --unfreeze 1", "--unfreeze is read by --mode partial only; leave it out"),
    ("--mode probe finetune partial --augment crop",
     "--augment crop: has too many views to cache, and --mode partial probe learns from cached "
     "activations; use none or flip"),
    ("--data t.csv --aux none --aux-weight 0 0.5",
     "--aux-weight 0.0 0.5: --aux none has nothing to weight; leave it out"),
    ("--data photos --aux-type regression",
     "--aux-type regression: is read only if --aux names COLUMN"),
    ("--data t.csv --aux none --aux-on all",
     "--aux-on all: is read only if --aux names COLUMN or brightness"),
    ("--data t.csv --aux coat --aux-type classification --aux-target raw",
     "--aux-target raw: is read only if --aux names a number"),
    ("--mode finetune --train-ratio 0.1 0.8 --aux-weight 0 --aux-on all",
     "--aux-on all: is not read at --aux-weight 0; name a weight above 0, or leave it out"),
    ("--debug --data t.csv --aux age --aux-target raw",
     "--aux-target raw: is not read at --aux-weight 0; name a weight above 0, or leave it out"),
    ("--data t.csv --aux age --metric val_brightness_r2",
     "--metric val_brightness_r2: needs --aux brightness, not age; trials can't be chosen by the "
     "score of a column"),
    ("--train a --data b", "--data is not read with --train, which names the images to train on"),
    ("--val a", "--val needs --train DIR, the images to train on"),
    ("--test a", "--test needs --train DIR, the images to train on"),
    ("--data a.csv --group a --group-regex b",
     "--group-regex is not read with --group; use one of them"),
    ("--group farm", "--group is not read by --data demo, which is drawn"),
    ("--data a --group-regex (",
     "--group-regex (: no regular expression: missing ), unterminated subpattern at position 0"),
    ("--data a --group-regex x{9999999999}",
     "--group-regex x{9999999999}: no regular expression: the repetition number is too large"),
    ("--no-confirm --confirm-seeds 3", "--confirm-seeds is not read with --no-confirm"),
    ("--objective pareto --design joint --train-ratio 0.1",
     "--objective pareto needs several ratios: --train-ratio 0.1 0.8"),
    ("--objective pareto --design cells",
     "--objective pareto compares ratios, which --design cells searches each alone; use --design "
     "joint"),
    ("--mode probe --trials 4",
     "--trials 4: a probe tunes itself and takes one trial, one a ratio: 2"),
    ("--mode freeze --train-ratio 0.1 --lr 1e-3 --aux-weight 0",
     "--trials 2: every factor has one value, so all trials would be the same; use --trials 1 or "
     "--debug"),
])  # fmt: skip
def test_a_setting_without_effect_is_a_fault(words: str, fault: str) -> None:
    assert faults_of(words) == [fault]


@pytest.mark.parametrize(("uri", "shared"), [
    ("/tmp/x", "file:///tmp/x"),
    ("/tmp/a b", "file:///tmp/a%20b"),
    *((uri, "file:///PATH") for uri in ("nothing", "", "s3:/x", "s3://", "s3:///x")),
    *((uri, "file:///PATH") for uri in ("file://tmp/x", "foo://bucket/x", "mock:///x")),
])  # fmt: skip
def test_a_storage_is_named_by_a_uri(uri: str, shared: str) -> None:
    rule = "must be a URI such as s3://BUCKET/PATH; a disk that all nodes share is"
    [fault] = resolve({"storage": uri})[1]
    assert str(fault) == f"--storage {uri}: {rule} {shared}"


@pytest.mark.parametrize("scheme", STORES)
def test_a_storage_of_each_kind_that_is_allowed_is_known_to_pyarrow(scheme: str) -> None:
    uri = "file:///tmp/x" if scheme == "file" else f"{scheme}://bucket/x"
    assert make_settings(storage=uri).storage == uri
    try:  # With an unknown option, or pyarrow would look for the bucket in the network.
        fs.FileSystem.from_uri(f"{scheme}://bucket/x?nonsense=1")
    except (OSError, ValueError) as refused:
        assert "Unrecognized filesystem type" not in str(refused)  # noqa: PT017


ARTICLE = {
    # name: backbone, image size, mode, train_ratio, aux_weight, epochs
    "freeze-large": ("resnet18", 224, "freeze", 0.8, 0.0, 10),
    "freeze-small": ("resnet18", 224, "freeze", 0.1, 0.0, 10),
    "finetune": ("resnet18", 224, "finetune", 0.8, 0.0, 10),
    "mlp": ("mlp", 128, "scratch", 0.8, 0.0, 30),
    "multitask": ("shared_mlp", 128, "scratch", 0.8, 0.3, 10),
    "multitask-transfer": ("resnet18", 224, "freeze", 0.8, 0.3, 10),
    "resnet50": ("resnet50", 224, "freeze", 0.8, 0.0, 10),
}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("data", [{}, {"data": "photos"}])
def test_preset_is_one_trial_of_the_article(name: str, data: dict[str, str]) -> None:
    c = single_config(make_settings(preset=name, **data))
    found = (c.backbone, c.image_size, c.mode, c.train_ratio, c.aux_weight, c.epochs)
    assert found == ARTICLE[name]
    assert (c.lr, c.batch_size, c.seed) == (1e-3, 32, 0)
    assert c.split_seed == (42 if name == "resnet50" else 0)
    assert set(PRESETS) == set(ARTICLE)
    assert PRESETS[name].about


@pytest.mark.parametrize(("aux", "given", "weight", "on"), [
    ("brightness", {}, (0.0, 0.9), "labelled"),
    ("brightness", {"aux_on": "all"}, (0.0, 0.9), "all"),
    ("age", {}, (0.0, 0.9), "all"),
    ("age", {"aux_on": "labelled"}, (0.0, 0.9), "labelled"),
    ("none", {}, (0.0,), "labelled"),
])  # fmt: skip
def test_defaults_of_the_auxiliary_task(
    aux: str, given: dict[str, Any], weight: tuple[float, ...], on: str
) -> None:
    settings, faults = resolve({"data": "t.csv", "aux": aux, **given})
    assert faults == []
    assert (settings.aux_weight, settings.aux_images, settings.task.name) == (weight, on, aux)
    words = command_of(settings.model_copy(update={"precision": "fp32"})).split()
    assert ("--aux-weight" in words) is False
    assert ("--aux-on" in words) is bool(given)
