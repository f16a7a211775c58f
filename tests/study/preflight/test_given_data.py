"""Own splits, manifests, groups and copies, from the command line to the images of a study."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.config.command_line import parse
from study.config.program import command_of
from study.config.validate import resolve
from study.preflight.checks import set_source
from study.preflight.prepare import Prepared, prepare_new
from study.preflight.resume import check_same_data
from study.preflight.setup import data_request, new_setup
from study.records.ledger import StudyState
from study.records.outputs import read_targets, write_targets
from study.records.study_files import Results
from study.trials.trial_context import TrialContext, make_context
from tests.support.studies.asking import QUICKEST
from tl_core.data.given.request import DataRequest, find_data
from tl_core.errors import InputError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty pictures of noise in `photos/`, ten of each of three farms of a class."""
    chance = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(30):
            pixels = chance.integers(256, size=(8, 8, 3), dtype=np.uint8)
            file = f"{name}/farm{i // 10}_{name}_{i}.png"
            Image.fromarray(pixels).save(tmp_path / "photos" / file)
    return tmp_path / "photos"


def listed(photos: Path, *columns: str) -> Path:
    """A manifest: each image, its class, and some of `split` (by farm) and `group`."""
    parts, rows = ("train", "val", "test"), [",".join(("path", "label", *columns))]
    for file in sorted(photos.glob("*/*.png")):
        farm = int(file.name[4])
        cells = {"split": parts[farm], "group": f"{file.parent.name}{farm}"}
        name = file.relative_to(photos.parent).as_posix()
        rows.append(",".join((name, file.parent.name, *(cells[c] for c in columns))))
    (photos.parent / "t.csv").write_text("\n".join(rows))
    return photos.parent / "t.csv"


def ask(**given: object) -> Prepared:
    left_out = {"train_ratio", *(["data"] if "train" in given else [])}
    kept = {name: value for name, value in QUICKEST.items() if name not in left_out}
    return prepare_new(kept | {"name": "mine"} | given)


def test_a_given_split_is_used_and_the_largest_default_ratio_is_all_of_it(photos: Path) -> None:
    prepared = ask(data=str(listed(photos, "split")))
    assert prepared.settings.train_ratio == (0.1, 0.3, 1.0)
    images = prepared.images
    split = images.split(1.0)
    assert {Path(images.ids[i]).name[:5] for i in split.train} == {"farm0"}
    assert {Path(images.ids[i]).name[:5] for i in split.test} == {"farm2"}
    assert images.sizes.base == 20
    assert prepared.notes == (
        "train ratios left out, as a class would have no training image: 0.01 0.03",
        "the split is the given one: 20 images of training (train), 20 images of validation (val), "
        "20 images of test (test); train ratios are shares of the training part",
    )


@pytest.mark.parametrize("ratios", [{}, {"train_ratio": ["0.01", "1"]}])
def test_no_ratio_is_to_blame_for_a_class_that_a_given_part_lacks(
    photos: Path, ratios: dict[str, object]
) -> None:
    table = listed(photos, "split")
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.endswith("dog,test")))
    with pytest.raises(InputError) as caught:
        ask(data=str(table), **ratios)
    first, *others = map(str, caught.value.faults)
    assert first == (
        "class 'dog' has no image in the given test part; add some, or leave this class out"
    )
    blamed = [f"--train-ratio 0.01: class '{name}' has 10 images" for name in ("cat", "dog")]
    assert [other[: len(blamed[0])] for other in others] == (blamed if ratios else [])


def test_a_seed_that_draws_no_part_is_a_fault(photos: Path) -> None:
    with pytest.raises(InputError, match=r"^--split-seed is not read, as validation and test "):
        ask(data=str(listed(photos, "split")), split_seed="1")
    given = {name: str(photos) for name in ("train", "val")}
    setup = new_setup(QUICKEST | {"split_seed": "1"} | given)
    assert [fault.flag for fault in set_source(setup)].count("--split-seed") == 0, "it draws test"


def test_groups_reach_workers_study_json_and_targets(photos: Path) -> None:
    prepared = ask(data=str(photos), group_regex=r"farm\d_...", train_ratio=["0.4"])
    kept = prepared.images
    assert kept.rules.groups is not None
    context = make_context(prepared)
    assert isinstance(context, TrialContext)
    found = context.attach()
    assert found.rules.by == kept.rules.by == r"farm\d_..."
    for part in ("train", "val", "test"):
        there = getattr(found.split(0.4, 1, 2), part)
        assert there.tolist() == getattr(kept.split(0.4, 1, 2), part).tolist()
        assert len(there) % 10 == 0
    study = Results(prepared.folder, prepared.settings, kept).study
    assert study["data"]["groups_by"] == r"farm\d_..."
    first, second = study["data"]["notes"]
    assert first.startswith(r"6 groups by farm\d_...: a group stays on one side of the split")
    assert second == (
        "by whole groups: test 20 images of 2 groups, validation 20 images of 2 groups; train "
        "ratios 0.333 for 0.4 with seed 0; each class has its share"
    )
    assert prepared.notes == (first, second)
    sha256 = write_targets(prepared.folder, kept, kept.split(0.4), "labelled")
    targets = read_targets(prepared.folder, sha256)
    assert targets is not None
    groups = targets["test"].groups
    assert groups is not None
    assert groups.tolist() == kept.rules.groups[kept.split(0.4).test].tolist()


def test_two_kinds_of_groups_are_one_fault(photos: Path) -> None:
    with pytest.raises(InputError) as caught:
        ask(data=str(listed(photos, "group")), group="group", group_regex="(cat|dog)")
    assert [*map(str, caught.value.faults)] == [
        "--group-regex is not read with --group; use one of them"
    ]


def test_editing_a_group_decodes_nothing_again(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ask(data=str(photos), train_ratio=["0.4"])
    assert "Decoding" in capsys.readouterr().err
    other = ask(data=str(photos), group_regex="farm._...", train_ratio=["0.4"], name="other")
    assert "Decoding" not in capsys.readouterr().err
    assert one.images.key == other.images.key


def test_a_study_whose_split_has_changed_can_not_go_on(photos: Path) -> None:
    prepared = ask(data=str(photos), train_ratio=["0.4"])
    study = Results(prepared.folder, prepared.settings, prepared.images).study
    state = StudyState(about=study)
    check_same_data(state, prepared.images)
    grouped = ask(data=str(photos), group_regex="farm._...", train_ratio=["0.4"], name="other")
    why = (
        "the split of this study has changed: other images are now in val, test, train_0.4. Parts, "
        "groups and copies decide it; start it anew"
    )
    with pytest.raises(InputError, match=f"^{re.escape(why)}$"):
        check_same_data(state, grouped.images)


def test_a_renamed_file_is_told_as_one(photos: Path) -> None:
    prepared = ask(data=str(photos), train_ratio=["0.4"])
    state = StudyState(about=Results(prepared.folder, prepared.settings, prepared.images).study)
    (photos / "cat" / "farm0_cat_0.png").rename(photos / "cat" / "farm0_cat_00.png")
    renamed = ask(data=str(photos), train_ratio=["0.4"], name="other").images
    assert renamed.content == prepared.images.content
    why = (
        f"the data of this study, {photos}, have changed: 1 file was renamed (cat/farm0_cat_0.png "
        "to cat/farm0_cat_00.png); put the name back, or start a new study"
    )
    with pytest.raises(InputError, match=f"^{re.escape(why)}$"):
        check_same_data(state, renamed)
    shutil.rmtree(prepared.images.path)
    why = "the split of this study has changed: other images, or images with other names, are now "
    with pytest.raises(InputError, match=f"^{why}in "):
        check_same_data(state, renamed)


def test_copies_are_noted_once_the_images_are_decoded(photos: Path) -> None:
    (photos / "dog" / "again.png").write_bytes((photos / "cat" / "farm0_cat_3.png").read_bytes())
    prepared = ask(data=str(photos), train_ratio=["0.4"])
    copies, labels = prepared.notes
    assert copies.startswith("1 image is a copy of 1 other photo (the same pixels)")
    assert labels.endswith(": cat/farm0_cat_3.png (cat) and dog/again.png (dog)")
    first, second = (prepared.images.ids.index(name) for name in
                     ("cat/farm0_cat_3.png", "dog/again.png"))  # fmt: skip
    for seed in range(20):
        split = prepared.images.split(0.4, seed, seed)
        assert [first in part for part in (split.train, split.val, split.test)] == [
            second in part for part in (split.train, split.val, split.test)
        ]


def test_ratios_that_leave_nothing_held_out(photos: Path) -> None:
    why = "0.9: train_ratio 0.9 is above 0.8: validation and test each take 0.1 of the images"
    with pytest.raises(InputError, match=f"^--train-ratio {re.escape(why)}$"):
        ask(data=str(photos), train_ratio=["0.9"])


@pytest.mark.parametrize("name", ["root", "train", "val", "test", "group", "group-regex"])
def test_no_flag_of_the_data_may_be_empty(name: str) -> None:
    (fault,) = resolve(parse(["--data", "photos", f"--{name}", ""]))[1]
    assert str(fault) == f"--{name} : String should have at least 1 character"


@pytest.mark.parametrize("name", ["demo", "oxford-pet"])
def test_a_folder_may_be_called_like_a_built_in_data_set(
    photos: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--train names a folder; --data names the built-in set, and says so."""
    monkeypatch.chdir(photos.parent)
    (photos.parent / "photos").rename(name)
    words = ["--train", name, "--skip-bad-images", "--exclude", "*_5.png", "--group-regex", "farm."]
    settings, faults = resolve(parse(words))
    assert faults == []
    assert (settings.data, settings.backbone) == (f"./{name}", "resnet18")
    source = find_data(data_request(settings), photos)
    assert (len(source.ids), source.name) == (58, name)
    folder = find_data(DataRequest(f"./{name}"), photos)
    assert (len(folder.ids), folder.notes) == (60, ())


def test_a_built_in_data_set_is_not_the_folder_of_its_name(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    assert find_data(DataRequest("demo"), photos).notes == ()
    photos.rename("demo")
    note = "demo is the built-in data set; the folder of this name is --data ./demo"
    assert find_data(DataRequest("demo"), photos).notes == (note,)


def test_commands_and_names(photos: Path) -> None:
    words = "--train pets/train --test pets/test --group-regex 'a (b)'"
    given = {"train": "pets/train", "test": "pets/test", "group_regex": "a (b)"}
    settings = new_setup(given).settings
    assert settings.data == "pets/train"
    assert str(settings.name).startswith("pets-")
    assert settings.backbone == "resnet18", "the defaults are not those of the demo"
    command = command_of(settings)
    assert command.startswith(f"python study/run.py {words}")
    assert "--data" not in command
    assert str(new_setup({"data": "x/cats.csv"}).settings.name).startswith("cats-2")
