import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from study import run as run_module
from tests.conftest import SIDE, TINY, draw_folder
from tests.support.study_fixtures import Run

SCRIPT = Path(run_module.__file__)
QUICK = ("--debug", "--backbone", "mlp", "--mode", "scratch", "--image-size", SIDE, "--epochs", 1)
Spoil = Callable[[Path], object]


def told_by(run: Run, capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    """What a command line that can't start tells of it."""
    assert run(*words) == 2
    first, *faults = capsys.readouterr().err.splitlines()
    while first.startswith("Decoding "):  # Progress is told on the same stream.
        first, *faults = faults
    assert first == "error: the study can't start"
    assert all(fault.startswith("  ") for fault in faults)
    assert not any(Path("runs").glob("*")), "a folder is left behind"
    return [fault[2:] for fault in faults]


def no_folder(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def a_file(root: Path) -> None:
    no_folder(root)
    root.write_text("")


def nothing_in_it(root: Path) -> None:
    no_folder(root)
    root.mkdir()


def one_class(root: Path) -> None:
    (root / "dog").rename(root.parent / "dog")


def empty_class(root: Path) -> None:
    one_class(root)
    (root / "dog").mkdir()


def too_few(root: Path) -> None:
    no_folder(root)
    draw_folder(root, ("cat", "dog"), n_images=2)


def text_file(root: Path) -> None:
    (root / "cat" / "notes.txt").write_text("not a picture")


def broken(root: Path) -> None:
    picture = (root / "dog" / "00.png").read_bytes()
    (root / "dog" / "00.png").write_bytes(picture[: len(picture) // 2])
    (root / "cat" / "empty.jpg").touch()


def one_class_is_broken(root: Path) -> None:
    for file in (root / "dog").iterdir():
        file.write_text("")


def too_many_pixels(root: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(root / "cat" / "bomb.png")


@pytest.mark.parametrize(
    ("spoil", "patterns"),
    [
        (no_folder, [r"data folder .*/photos does not exist; a folder, demo or oxford-pet is"]),
        (a_file, [r"data folder .*/photos is a file, not a folder"]),
        (nothing_in_it, [r"/photos needs one sub-folder per class, two or more; found none"]),
        (one_class, [r"/photos needs one sub-folder per class, two or more; found only 'cat'"]),
        (empty_class, [r"class folder .*/photos/dog has no files"]),
        (too_few, [r"--train-ratio 0.1: class 'cat' has 2 images; .* needs 3 more", "class 'dog'"]),
        (text_file, ["1 file is not a readable image", r"  cat/notes.txt: UnidentifiedImageError"]),
        (broken, ["2 files are not readable", "cat/empty.jpg: Uni", r"  dog/00.png: OSError: "]),
        (one_class_is_broken, ["20 files are not readable"] + 20 * ["dog/"]),
        (too_many_pixels, ["1 file is not a readable", "cat/bomb.png: DecompressionBombError"]),
    ],
)  # fmt: skip
def test_bad_data(
    spoil: Spoil,
    patterns: list[str],
    run: Run,
    photo_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(photo_folder)
    faults = told_by(run, capsys, "--data", photo_folder, *QUICK)
    assert len(faults) == len(patterns), faults
    for pattern, fault in zip(patterns, faults, strict=True):
        assert re.search(pattern, fault), fault


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ("--backbone resnet19", r"^unknown backbone 'resnet19' \(did you mean .*resnet18.*alexnet"),
        (
            "--mode frozen --weights none",
            r"^--mode frozen: .*'freeze', 'finetune', 'lp_ft' or 'scratch'",
        ),
        ("--train-ratio 0", r"^--train-ratio 0: must be greater than 0$"),
        ("--train-ratio 0.9", r"^--train-ratio 0.9: must be less than or equal to 0.8$"),
        ("--aux-weight 1.5", r"^--aux-weight 1.5: must be a number from 0 to 1, or auto$"),
        ("--aux-weight -1", r"^--aux-weight -1: must be a number from 0 to 1, or auto$"),
        ("--lr 0", r"^--lr 0: must be greater than 0$"),
        ("--lr -0.001", r"^--lr -0.001: must be greater than 0$"),
        ("--lr -1e-3", r"^--lr -1e-3: must be greater than 0$"),
        ("--lr -inf", r"^--lr -inf: must be a finite number$"),
        ("--lr 1e-3 1e-2", r"^--lr takes one value in debug mode, not 2$"),
        ("--epochs 0", r"^--epochs 0: must be greater than or equal to 1$"),
        ("--gpus 64", r"^--gpus 64: this machine has \d+; leave --gpus out"),
        ("--mode freeze", r"^--mode freeze: mlp has no pretrained weights; use --mode scratch"),
        ("--name taken", r"^--name taken: out/taken exists; choose another name or remove it$"),
        ("--name a/b", r"^--name a/b: a folder name is expected"),
        ("--name x --out file", r"^--out file: /.*/file is not a folder$"),
        ("--cache file", r"^--cache file: /.*/file is not a folder$"),
        ("--tracking-uri ftp://127.0.0.1/x", r"^--tracking-uri ftp://127.0.0.1/x: .*unsupported"),
        ("--tracking-uri mlruns", r"^--tracking-uri mlruns: The filesystem tracking backend"),
        ("--tracking-uri http://127.0.0.1:9", r"^--tracking-uri http://127.0.0.1:9: .*refused"),
        (
            "--tracking-uri sqlite:///file/x.db",
            r"^--tracking-uri sqlite:///file/x.db: /.*/file is not a fol",
        ),
    ],
)
def test_bad_setting(
    words: str,
    pattern: str,
    run: Run,
    photo_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    Path("out/taken").mkdir(parents=True)
    Path("file").touch()
    faults = told_by(run, capsys, "--data", photo_folder, *QUICK, "--out", "out", *words.split())
    assert len(faults) == 1, faults
    assert re.search(pattern, faults[0]), faults
    assert [path.name for path in Path("out").iterdir()] == ["taken"]


def test_link_to_nowhere_is_an_unreadable_file(
    run: Run, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo_folder / "cat" / "gone.png").symlink_to("nowhere.png")
    faults = told_by(run, capsys, "--data", photo_folder, *QUICK)
    assert any("cat/gone.png" in fault for fault in faults)


def test_weights_of_another_network(
    run: Run, photo_folder: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data", photo_folder, *QUICK, "--mode", "freeze", "--weights", tiny_weights)
    (fault,) = told_by(run, capsys, *words, "--backbone", "resnet18")
    assert fault.startswith(f"weights file {tiny_weights} is not for resnet18: ")


def test_weights_file_that_runs_code_is_not_run(
    run: Run, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (Path("ran"),)  # type: ignore[return-value]

    torch.save({"x": Bomb()}, "bomb.pth")
    words = ("--data", photo_folder, *QUICK, "--mode", "freeze", "--weights", "bomb.pth")
    (fault,) = told_by(run, capsys, *words, "--backbone", TINY)
    assert "bomb.pth" in fault
    assert not Path("ran").exists()


def test_many_faults_at_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--data nowhere --lr 0 --train-ratio 2 --backbone nonet --mode cold --epochs 0"
    assert len(told_by(run, capsys, *words.split())) == 6


def test_name_with_brackets_is_printed_as_it_is(
    run: Run, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--data", photo_folder, *QUICK, "--name", "[red]:dog:") == 0
    assert "files: runs/[red]:dog:/" in capsys.readouterr().out


@pytest.mark.parametrize("at_start", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_ends_like_ctrl_c(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at_start: Any
) -> None:
    def wait(given: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        threading.Event().wait(10)

    monkeypatch.setattr("study.preflight.prepare.prepare", wait)
    before = signal.signal(signal.SIGINT, at_start)
    try:
        assert run("--debug") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("--help", 0, ""),
        ("--preset list", 0, ""),
        ("--learning-rate 1", 2, "error: unrecognized arguments: --learning-rate 1\n"),
        (
            "--data nowhere --lr 0 --backbone mlp --mode scratch",
            2,
            "  --lr 0: must be greater than 0\n",
        ),
    ],
)
def test_script_in_a_process_of_its_own(words: str, code: int, told: str) -> None:
    command = [sys.executable, str(SCRIPT), *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert told in done.stderr
    assert not any(Path().iterdir())
