"""Studies on disks that are full or read-only, and studies that start at the same moment."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from study import run
from tests.conftest import QUICK, SIDE, TINY
from tests.support.disks import on_small_disk, read_only
from tests.support.programs import full_disk
from tests.support.studies.ray_runs import RayRun

pytestmark = pytest.mark.faults


def faults_in(done: "subprocess.CompletedProcess[str]") -> list[str]:
    first, *faults = done.stderr.splitlines()
    assert (done.returncode, first) == (2, "error: the study can't start"), done.stderr
    return [fault.removeprefix("  ") for fault in faults]


def test_folders_that_are_read_only_are_told_together(photo_folder: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    cache = ("--cache", disk / "cache")
    store = f"sqlite:///{disk}/mlflow.db"
    words = (run.__file__, *QUICK, "--data", photo_folder, *cache)
    why = f"{disk} can't be written: Read-only file system"
    assert faults_in(read_only(disk, *words, "--out", disk / "runs", "--tracking-uri", store)) == [
        f"--out {disk}/runs: {why}",
        f"--tracking-uri {store}: {why}",
    ]
    # What the cache lacks is known once torch has looked at the network.
    own = ("--out", tmp_path / "runs", "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db")
    assert faults_in(read_only(disk, *words, *own)) == [f"--cache {disk}/cache: {why}"]


def test_a_cache_without_room_is_told_before_decoding(photo_folder: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    words = (run.__file__, *QUICK, "--image-size", 224, "--data", photo_folder)
    (fault,) = faults_in(on_small_disk(disk, "1m", *words, "--cache", disk))
    assert fault == (
        f"--cache {disk}: the disk has 1.0 MB free, 6.0 MB are needed (6.0 MB for decoded images); "
        "use another --cache or a smaller --image-size"
    )


def test_a_disk_that_fills_up_stops_the_study_and_what_has_ended_is_kept(
    photo_folder: Path, tmp_path: Path, own_folder: Path
) -> None:
    disk = tmp_path / "disk"
    assert QUICK[0] == "--debug"
    words = [*QUICK[1:], "--min-steps", 20, "--data", photo_folder, "--trials", 12]
    words += ["--no-confirm", "--offline", "--out", disk, "--name", "mine"]
    done = on_small_disk(disk, "256m", full_disk.__file__, disk / "mine", *words)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["code"] == 4, seen["printed"]
    assert "Traceback" not in seen["printed"]
    assert "No space left on device" in seen["printed"]
    assert f"--resume mine --out {disk}" in seen["printed"]
    assert (seen["second"], len(seen["after"])) == (0, 13), seen["resumed"]
    assert len(seen["before"]) >= 3
    assert seen["after"].items() >= seen["before"].items()


def run_two(
    ray_run: RayRun, words: tuple[object, ...], names: tuple[str, str]
) -> list[tuple[int, str]]:
    """Start two studies at once; return the exit code of each, and its error output."""
    both = [ray_run.start(*words, "--name", name) for name in names]
    ended = [ray_run.finish(process) for process in both]
    return [(code, errors) for code, _, errors in ended]


def test_two_that_start_at_once_share_a_cache(
    ray_run: RayRun, photo_folder: Path, tiny_weights: Path, uri: str
) -> None:
    words = (
        "--debug", "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--data", photo_folder, "--tracking-uri", uri, "--epochs", 2, "--min-steps", 0,
    )  # fmt: skip
    ended = run_two(ray_run, words, ("one", "two"))
    assert [code for code, _ in ended] == [0, 0], ended
    errors = "".join(errors for _, errors in ended)
    assert [errors.count(what) for what in ("Decoding", "Features of", "built again")] == [1, 1, 0]
    one, two = (pd.read_csv(f"runs/{name}/trials.csv") for name in ("one", "two"))
    same = [name for name in one if name not in ("wall_s", "images_per_s", "started")]
    pd.testing.assert_frame_equal(one[same], two[same])


def test_two_that_start_at_once_under_one_name(
    ray_run: RayRun, photo_folder: Path, uri: str
) -> None:
    words = (*QUICK, "--data", photo_folder, "--tracking-uri", uri)
    (done, _), (refused, errors) = sorted(run_two(ray_run, words, ("same", "same")))
    assert (done, refused) == (0, 2)
    assert "--name same: " in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert pd.read_csv("runs/same/trials.csv")["status"].tolist() == ["done"]
