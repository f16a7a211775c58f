from pathlib import Path

from study.report import main
from tests.support.study_fixtures import Capture


def test_rebuilt_report_is_the_same(undrawn_study: Path, capsys: Capture) -> None:
    before = (undrawn_study / "report.html").read_text()
    (undrawn_study / "report.html").unlink()
    (undrawn_study / "figures" / "left-over.png").write_bytes(b"")
    assert main(["tiny"]) == 0
    assert capsys.readouterr().out == "runs/tiny/report.html\n"
    assert (undrawn_study / "report.html").read_text() == before
    assert not (undrawn_study / "figures" / "left-over.png").exists()
    assert (undrawn_study / "confirm.csv").is_file()
    assert (undrawn_study / "differences.csv").is_file()
    (undrawn_study / "ledger.jsonl").unlink()
    assert main(["tiny"]) == 2
    assert "ledger.jsonl" in capsys.readouterr().err


def test_unknown_study_lists_the_known_ones(own_folder: Path, capsys: Capture) -> None:
    Path("runs/tiny").mkdir(parents=True)
    Path("runs/tiny/study.json").touch()
    assert main(["tyni"]) == 2
    assert capsys.readouterr().err == "error: no study tyni in runs/; there are: tiny\n"
    assert main(["tiny", "--out", "elsewhere"]) == 2
    expected = "error: no study tiny in elsewhere/; there is none; --out names its folder\n"
    assert capsys.readouterr().err == expected
