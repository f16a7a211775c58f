from pathlib import Path

import pytest

from tests.support.core.hostile_files import put
from tl_core.data.caching.entries import publish
from tl_core.data.folders import files_below
from tl_core.data.scanning.class_folders import scan_classes
from tl_core.data.scanning.outputs import CACHE_SIGNATURE, PassedOver, output_kind

HEX = "0123456789abcdef" * 2
OUTPUTS: dict[str, tuple[str, list[str]]] = {
    "a study": ("studies and models of tl-study", ["study.json", "ledger.jsonl", "report.html"]),
    "a model": ("studies and models of tl-study", ["model.json", "model.safetensors"]),
    "a model of MLflow": ("MLflow", ["MLmodel", "code/a.py"]),
    f"{HEX}": ("MLflow", ["artifacts/a.png"]),
    f"m-{HEX}": ("MLflow", ["artifacts/MLmodel"]),
    "an entry of a cache": ("caches", ["SHA256SUMS", "pixels.npy"]),
    "venv": ("Python environments", ["pyvenv.cfg", "lib/a.png"]),
    "conda": ("Python environments", ["conda-meta/history", "share/a.png"]),
    "__pycache__": ("Python's bytecode", ["a.pyc"]),
    "node_modules": ("Node packages", ["a/logo.png"]),
    "logs": ("logs of training", ["events.out.tfevents.123.host"]),
    "tune": ("logs of training", ["experiment_state-2026.json", "a/result.json"]),
    "run-2026": ("logs of training", ["run-abc.wandb", "files/media/a.png"]),
    ".git": ("hidden or of a system", ["logo.png"]),
    "__MACOSX": ("hidden or of a system", ["cat/._1.png"]),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_a_program_wrote_is_passed_over_wherever_it_lies(tmp_path: Path, name: str) -> None:
    kind, files = OUTPUTS[name]
    for place in (name, f"cat/{name}", f"cat/deep/{name}", f"outer/{name}"):
        for file in files:
            put(tmp_path / place / file, b"x")
    for file in ("cat/1.png", "dog/2.png"):
        put(tmp_path / file, b"picture")
    passed = PassedOver()
    found = [str(path.relative_to(tmp_path)) for path in files_below(tmp_path, passed=passed)]
    assert found == ["cat/1.png", "dog/2.png"]
    assert {k: len(folders) for k, folders in passed.folders.items()} == {kind: 4}
    if kind.startswith("hidden"):
        (tmp_path / "outer" / name).rename(tmp_path / "dog" / name)
        (tmp_path / "outer").rmdir()
    assert scan_classes(tmp_path).ids == ("cat/1.png", "dog/2.png")


def test_a_note_names_them_by_kind(tmp_path: Path) -> None:
    for i in range(6):
        put(tmp_path / f"runs/study-{i}" / "study.json", b"{}")
        put(tmp_path / f"runs/study-{i}" / "ledger.jsonl", b"")
    for name in ("1", "2", "3", "4", "5\x1b"):
        put(tmp_path / "cat" / f".{name}" / "x", b"")
    put(tmp_path / "mlruns/1/models" / f"m-{HEX}" / "artifacts/MLmodel", b"")
    put(tmp_path / "env/pyvenv.cfg", b"")
    for file in ("cat/1.png", "dog/2.png"):
        put(tmp_path / file, b"picture")
    assert scan_classes(tmp_path).notes == (
        r"passed over: cat/.1, cat/.2, cat/.3, cat/.4 and 1 more (hidden or of a system); "
        "env (Python environments); mlruns (MLflow); runs (studies and models of tl-study)",
    )


def test_a_cache_is_marked_as_one(tmp_path: Path) -> None:
    publish(tmp_path / "cache" / "images" / "abc", lambda into: None)
    tag = tmp_path / "cache" / "images" / "CACHEDIR.TAG"
    assert tag.read_bytes().startswith(CACHE_SIGNATURE)
    images = tag.parent
    assert output_kind(images, [path.name for path in images.iterdir()]) == "caches"
    assert [*files_below(tmp_path)] == []


@pytest.mark.parametrize(("name", "files"), [
    ("runs", {"1.png": b"a photo of a runner"}),
    ("mlruns", {"1.png": b""}),
    ("cat", {"meta.yaml": b"camera: Canon", "1.png": b""}),
    ("cat", {"CACHEDIR.TAG": b"not the signature"}),
    ("cat", {"study.json": b"{}", "1.png": b""}),
    ("cat", {"model.json": b"{}", "a.lock": b""}),
    ("cat", {"3.png": b"", "3.png.lock": b""}),
    ("d41d8cd98f00b204e9800998ecf8427e", {"1.png": b""}),
])  # fmt: skip
def test_a_users_own_folder_may_have_such_names(
    tmp_path: Path, name: str, files: dict[str, bytes]
) -> None:
    for file, content in files.items():
        put(tmp_path / name / file, content)
    assert output_kind(tmp_path / name, [*files]) is None


def test_a_class_whose_pictures_are_gone_is_no_output(tmp_path: Path) -> None:
    put(tmp_path / "cat/.ipynb_checkpoints/1.png", b"")
    put(tmp_path / "dog/1.png", b"")
    with pytest.raises(ValueError, match=r"class folder .*/cat has no files: add some, "):
        scan_classes(tmp_path)
