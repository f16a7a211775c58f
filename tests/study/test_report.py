"""The command that makes a report again."""

from pathlib import Path

import pytest

from study.report import main
from tests.support.study_fixtures import Capture, Patch

TITLE = "error: the report can't be made\n"


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
    assert capsys.readouterr().err == (
        f"{TITLE}  runs/tiny: its files can't be read by this version of tl-study "
        "(FileNotFoundError: [Errno 2] No such file or directory: 'runs/tiny/ledger.jsonl')\n"
    )


def test_unknown_study_lists_the_known_ones(own_folder: Path, capsys: Capture) -> None:
    Path("runs/tiny").mkdir(parents=True)
    Path("runs/tiny/study.json").touch()
    assert main(["tyni"]) == 2
    expected = "no study tyni in runs/; there are: tiny; --out names its folder\n"
    assert capsys.readouterr().err == f"{TITLE}  {expected}"
    assert main(["tiny", "--out", "elsewhere"]) == 2
    expected = "no study tiny in elsewhere/; there is none; --out names its folder\n"
    assert capsys.readouterr().err == f"{TITLE}  {expected}"
    assert main(["x" * 300]) == 2
    assert capsys.readouterr().err == f"{TITLE}  runs/{'x' * 300}: File name too long\n"


@pytest.mark.parametrize(("error", "why"), [
    (PermissionError(13, "Permission denied", "runs/tiny/.report.html.0a"),
     "runs/tiny/.report.html.0a: Permission denied"),
    (PermissionError(13, "Permission denied", "runs/tiny/figures"),
     "runs/tiny/figures: Permission denied"),
    (OSError(28, "No space left on device"), "runs/tiny: No space left on device"),
    (PermissionError(13, "Permission denied", "runs/tiny/outputs/7.npz"),
     "runs/tiny: its files can't be read by this version of tl-study (PermissionError: "
     "[Errno 13] Permission denied: 'runs/tiny/outputs/7.npz')"),
    (KeyboardInterrupt(), None),
])  # fmt: skip
def test_what_stops_it_is_told(
    error: BaseException, why: str | None,
    undrawn_study: Path, monkeypatch: Patch, capsys: Capture,
) -> None:  # fmt: skip
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("study.reporting.build.write_report", fail)
    assert main(["tiny"]) == (2 if why else 130)
    assert capsys.readouterr().err == (f"{TITLE}  {why}\n" if why else "interrupted\n")
