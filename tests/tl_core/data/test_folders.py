from pathlib import Path

from tests.support.core.hostile_files import put
from tl_core.data.folders import files_below


def found(folder: Path, within: Path | None = None) -> list[str]:
    return [str(path.relative_to(folder)) for path in files_below(folder, within)]


def plant(root: Path, *names: str) -> Path:
    for name in names:
        put(root / name, b"")
    return root


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_a_folders_own_files_come_first_then_those_of_its_folders(tmp_path: Path) -> None:
    plant(tmp_path, "b/2", "b/a/1", "a/3", "z", "c", "caf\udce9/\udcff")
    assert found(tmp_path) == ["c", "z", "a/3", "b/2", "b/a/1", "caf\udce9/\udcff"]


def test_loops_end(tmp_path: Path) -> None:
    plant(tmp_path, "a/1", "b/2")
    link(tmp_path / "a" / "self", tmp_path / "a")
    link(tmp_path / "a" / "up", tmp_path)
    link(tmp_path / "a" / "b", tmp_path / "b")
    link(tmp_path / "b" / "a", tmp_path / "a")
    link(tmp_path / "a" / "none", tmp_path / "a" / "none")
    assert found(tmp_path / "a") == ["1", "none", "b/2"]


def test_a_folder_on_the_way_is_not_entered_from_elsewhere(tmp_path: Path) -> None:
    plant(tmp_path, "photos/cat/1", "photos/dog/2", "store/3")
    link(tmp_path / "photos" / "cat" / "more", tmp_path / "store")
    link(tmp_path / "store" / "back", tmp_path / "photos")
    assert found(tmp_path / "photos" / "cat", within=tmp_path / "photos") == ["1", "more/3"]


def test_links_that_double_at_each_level_end(tmp_path: Path) -> None:
    # Two links a level make 2 ** 30 ways to the file.
    plant(tmp_path, "30/file")
    for level in range(30):
        for name in ("a", "b"):
            link(tmp_path / str(level) / name, tmp_path / str(level + 1))
    assert found(tmp_path / "0") == ["/".join("a" * 30) + "/file"]
