import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from study.cluster.stores import Bucket
from study.config.defaults import DEFAULTS
from study.preflight.checks import QUICK, run_checks
from study.preflight.prepare import prepare, prepare_new
from study.preflight.setup import Setup, new_setup
from study.records.ledger import StudyState
from study.search.confirmation import plan
from tests.conftest import SIDE
from tests.support.studies.asking import QUICKEST, ask, faults_of
from tests.support.studies.builders import make_record
from tl_core.errors import InputError


def test_study_that_can_start(photo_folder: Path) -> None:
    prepared = ask(photo_folder, name="mine", gpus="0")
    assert prepared.folder == Path("runs/mine")
    assert not prepared.folder.exists()
    assert prepared.settings.name == "mine"
    assert len(prepared.images.labels) == 40
    assert prepared.images.image_size == SIDE
    assert (prepared.gpus, prepared.notes) == (0, ())


def test_a_store_of_the_environment_is_named_without_its_password(
    photo_folder: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{uri}?password=secret")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "cats")
    prepared = ask(photo_folder, gpus="0")
    assert prepared.settings.tracking_uri == f"{uri}?password=secret"
    assert prepared.introduce().endswith(
        f"; MLflow's runs go to {uri}, experiment cats, as MLFLOW_TRACKING_URI and "
        "MLFLOW_EXPERIMENT_NAME say"
    )
    given = {"tracking_uri": "sqlite:///own.db"}
    assert (
        ask(photo_folder, gpus="0", **given)
        .introduce()
        .endswith("; MLflow's runs go to experiment cats, as MLFLOW_EXPERIMENT_NAME says")
    )
    assert "MLflow" not in ask(photo_folder, gpus="0", offline=True).introduce()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{photo_folder}/cat/00.png")
    (fault,) = faults_of(photo_folder)
    assert fault.startswith("MLFLOW_TRACKING_URI sqlite:///")


def test_a_new_study_needs_an_empty_bucket_and_a_resumed_one_its_own(
    photo_folder: Path, tmp_path: Path
) -> None:
    uri = (tmp_path / "bucket").as_uri()
    prepared = ask(photo_folder, name="mine", storage=uri, gpus="0")
    Bucket(uri, "mine").write("winner/model.json", b"one")
    why = f"{uri}/mine has another study's files; choose another name or remove them"
    assert faults_of(photo_folder, name="mine", storage=uri, out="elsewhere") == (
        f"--name mine: {why}",
    )
    images = prepared.images
    about = {"name": "photos", "content": images.content, "aux": images.aux.about()}
    state = StudyState(about={"data": about})
    setup = Setup(prepared.settings, state=state, found=prepared.folder)
    run_checks(setup, QUICK)
    assert prepare(setup).settings == prepared.settings


def test_notes_tell_what_is_passed_over_and_what_looks_like_masks(photo_folder: Path) -> None:
    (photo_folder / "cat" / "masks").mkdir()
    photos = sorted(path for path in (photo_folder / "cat").iterdir() if path.is_file())
    for i, file in enumerate(photos):
        Image.new("RGB", (8, 8), (12 * i, 0, 0)).save(photo_folder / "cat" / "masks" / file.name)
    (photo_folder / "runs" / "first").mkdir(parents=True)
    for name in ("study.json", "ledger.jsonl"):
        (photo_folder / "runs" / "first" / name).write_text("{}")
    passed = "passed over: runs (studies and models of tl-study)"
    masks = (
        "20 of 60 files lie in folders with the name 'masks' (cat/masks/00.png beside cat/seen). A "
        "network that learns from masks or copies scores too well: leave them out with --exclude "
        "masks"
    )
    (photo_folder / "cat" / "seen").mkdir()
    (photo_folder / "cat" / "00.png").rename(photo_folder / "cat" / "seen" / "00.png")
    assert ask(photo_folder).notes == (passed, masks)
    prepared = ask(photo_folder, exclude=["masks"])
    assert (prepared.notes, len(prepared.images.ids)) == ((passed,), 40)
    assert faults_of(photo_folder, exclude=["mask"]) == (
        "--exclude mask: matches no file of the data folder",
    )


@pytest.mark.parametrize(("given", "name"), [
    ({}, "my-photos-2-TIME"),
    ({"debug": True}, "my-photos-2-debug-TIME"),
    ({"preset": "mlp"}, "my-photos-2-mlp-TIME"),
    ({"name": "mine"}, "mine"),
])  # fmt: skip
def test_name_is_made_of_data_preset_and_time(given: dict[str, Any], name: str) -> None:
    found = str(new_setup({"data": "x/my photos (2)"} | given).settings.name)
    assert re.fullmatch(name.replace("TIME", r"\d{8}-\d{6}"), found)


def test_faults_that_need_torch_or_a_server_are_reported_together(
    photo_folder: Path, nobody: str
) -> None:
    wrong = {"backbone": "resnet81", "gpus": "99", "tracking_uri": nobody}
    server, gpus, backbone = faults_of(photo_folder, **wrong)
    assert server.startswith(f"--tracking-uri {nobody}: Connection refused; --offline keeps")
    assert gpus.startswith("--gpus 99: this machine has ")
    assert backbone.startswith("unknown backbone 'resnet81' (did you mean ")
    # They wait for those that need nothing.
    assert faults_of(photo_folder, **wrong, lr=["-1"]) == ("--lr -1: must be greater than 0",)


def test_no_image_is_decoded_while_something_else_is_wrong(
    photo_folder: Path, own_cache: Path
) -> None:
    (photo_folder / "cat" / "broken.jpg").write_bytes(b"no picture")
    (backbone,) = faults_of(photo_folder, backbone="resnet81")
    assert backbone.startswith("unknown backbone 'resnet81'")
    assert not own_cache.exists()


@pytest.mark.parametrize(
    ("unreadable", "fitting"), [(0, (0.03, 0.1, 0.3, 0.8)), (12, (0.1, 0.3, 0.8)), (18, ())]
)
def test_default_ratios_that_the_readable_images_do_not_fit_are_left_out(
    photo_folder: Path, unreadable: int, fitting: tuple[float, ...]
) -> None:
    for file in sorted((photo_folder / "cat").iterdir())[:unreadable]:
        file.write_bytes(b"no picture")
    given = {"data": str(photo_folder), "skip_bad_images": True}
    given |= {name: value for name, value in QUICKEST.items() if name != "train_ratio"}
    if not fitting:
        with pytest.raises(InputError, match=r"--train-ratio 0.8: class 'cat' has 2 .* 1 more"):
            prepare_new(given)
        return
    prepared = prepare_new(given)
    assert prepared.settings.train_ratio == fitting
    left_out = " ".join(f"{r:g}" for r in DEFAULTS["train_ratio"] if r not in fitting)
    why = "train ratios left out, as a class would have no training image"
    assert prepared.notes[0] == f"{why}: {left_out}"


def broken(root: Path) -> None:
    image = (root / "dog" / "00.png").read_bytes()
    (root / "dog" / "00.png").write_bytes(image[: len(image) // 2])
    (root / "cat" / "empty.jpg").touch()


def test_unreadable_images_may_be_left_out(photo_folder: Path) -> None:
    broken(photo_folder)
    bad, empty, half = faults_of(photo_folder)
    assert bad.startswith("2 files are not readable images")
    assert empty.startswith("  cat/empty.jpg: an empty")
    assert half.startswith("  dog/00.png: OSError: ")
    assert not Path("runs").exists()
    prepared = ask(photo_folder, skip_bad_images=True)
    assert len(prepared.images.labels) == 39
    assert [name for name, _ in prepared.images.bad] == ["cat/empty.jpg", "dog/00.png"]
    assert prepared.notes == ("2 unreadable files left out; study.json lists them",)
    for file in (photo_folder / "dog").iterdir():
        file.write_bytes(b"")
    assert faults_of(photo_folder, skip_bad_images=True) == ("class 'dog' has no readable image",)


def test_introduction_says_what_is_about_to_run(photo_folder: Path) -> None:
    prepared = ask(photo_folder, name="mine", gpus="0", trials="7", precision="fp32")
    line = prepared.introduce()
    assert line.startswith(f"mine: 7 trials of mlp on {photo_folder}, 40 images of 2 classes")
    assert "at 32 px, in fp32 on " in line
    # Three configurations on three seeds; five fresh seeds of the one cell and of the auxiliary
    # task's control, which needs no choice after so few trials; the winner.
    text = "; then up to 20 trials on other seeds, to choose and confirm the best of each cell"
    assert line.endswith(text)

    def introduce(**changes: Any) -> str:
        settings = prepared.settings.model_copy(update=changes)
        return replace(prepared, settings=settings).introduce()

    assert "fresh seeds" not in introduce(confirm=False)
    assert "one trial of" in (alone := introduce(debug=True))
    assert "fresh seeds" not in alone
    for ended, said in ((5, "2 more trials of"), (7, "what is left to")):
        state = StudyState(records={trial: make_record(trial) for trial in range(ended)})
        assert replace(prepared, state=state).introduce().startswith(f"mine: {said}")
    (mode,), (ratio,) = prepared.settings.mode, prepared.settings.train_ratio
    state.records[0] = make_record(mode=mode, train_ratio=ratio)
    first = plan(prepared.settings, state.trials)[0]
    state.records[7] = replace(make_record(7), config=first.config, kind=first.kind)
    assert " CPU cores: up to 19 trials on" in replace(prepared, state=state).introduce()
