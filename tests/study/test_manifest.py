"""`study/manifest.py`: a folder as a table."""

from pathlib import Path

import pandas as pd
import pytest

from study.manifest import main
from tests.support.core.hostile_files import without_root
from tests.tl_core.data.test_sources import plant

Capture = pytest.CaptureFixture[str]


def test_a_folder_with_a_split_becomes_a_table(tmp_path: Path, capsys: Capture) -> None:
    names = [f"{part}/{c}/p{i}.png" for part in ("train", "test") for c in "ab" for i in range(2)]
    root, out = plant(tmp_path / "photos", *names), tmp_path / "t.csv"
    assert main([str(root), "--out", str(out), "--group-regex", r"train.*(p\d)"]) == 0
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table.columns) == ["path", "label", "split", "group"]
    assert table.iloc[0].tolist() == ["photos/train/a/p0.png", "a", "train", "p0"]
    assert table.iloc[-1].tolist() == ["photos/test/b/p1.png", "b", "test", ""]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("note: the split is the given one: 4 images of training (train/)")
    assert lines[-1] == f"{out}: 8 images of 2 classes; study it with --data {out}"


def test_names_in_one_folder_become_labels(tmp_path: Path, capsys: Capture) -> None:
    root = plant(tmp_path / "flat", "cat.1.png", "cat.2.png", "dog.1.png")
    words = [str(root), "--out", str(out := tmp_path / "t.csv"), "--label-regex", "cat|dog"]
    assert main([*words, "--group-regex", r"\.(\d)"]) == 0
    table = pd.read_csv(out, dtype=str)
    assert [*table.columns] == ["path", "label", "group"]
    assert table.iloc[1].tolist() == ["flat/cat.2.png", "cat", "2"]
    assert "3 images of 2 classes" in capsys.readouterr().out


def test_the_table_is_named_as_a_shell_takes_it(tmp_path: Path, capsys: Capture) -> None:
    root = plant(tmp_path / "photos", "a/1.png", "b/2.png")
    assert main([str(root), "--out", "my photos.csv"]) == 0
    assert capsys.readouterr().out.endswith("; study it with --data 'my photos.csv'\n")


def test_a_folder_with_the_name_of_a_data_set_is_told(capsys: Capture) -> None:
    Path("demo").mkdir()
    assert main(["demo"]) == 2
    why = "  FOLDER demo: a data folder is expected; the folder of this name is ./demo\n"
    assert capsys.readouterr().err.endswith(why)


def test_what_can_not_be_listed_or_written(tmp_path: Path, capsys: Capture) -> None:
    root = plant(tmp_path / "photos", "a/1.png", "b/2.png")
    (tmp_path / "there.csv").touch()
    for words, fault in (
        ([str(root), "--out", "x" * 300 + ".csv"], "File name too long"),
        (["demo"], "FOLDER demo: a data folder is expected"),
        ([str(root), "--out", "t.txt"], "--out t.txt: must end in .csv, .tsv, .parquet"),
        ([str(root), "--out", f"{tmp_path}/there.csv"], "there.csv exists; choose another name"),
        ([str(root), "--out", f"{tmp_path}/no/t.csv"], "t.csv: Cannot save file into a non-"),
        ([str(root), "--out", f"{tmp_path}/t.csv", "--group-regex", "x"], "--group-regex x: match"),
        ([str(root), "--out", f"{tmp_path}/t.csv", "--group-regex", "("], "no regular expression"),
    ):  # fmt: skip
        assert main(words) == 2
        assert fault in capsys.readouterr().err


def test_what_may_not_be_read_is_not_blamed_on_the_table(tmp_path: Path, capsys: Capture) -> None:
    root = plant(tmp_path / "in" / "photos", "a/1.png", "b/2.png")
    words = [str(root), "--out", str(out := tmp_path / "t.csv")]
    root.chmod(0)
    assert without_root(lambda: main(words)) == 2
    assert f"{root} can't be read: Permission denied\n" in capsys.readouterr().err
    root.chmod(0o755)
    root.parent.chmod(0)
    assert without_root(lambda: main(words)) == 2
    assert f"FOLDER {root}: Permission denied" in capsys.readouterr().err
    root.parent.chmod(0o755)
    (root / "a").chmod(0o644)  # Names can be listed, and no more.
    assert without_root(lambda: main(words)) == 0
    assert pd.read_csv(out)["path"].tolist() == ["in/photos/a/1.png", "in/photos/b/2.png"]
