"""Progress on a terminal and elsewhere."""

import pytest

from tl_core.progress import track

NAMES = ("/data/[old]/cats", "/data/[/old]/:cat:")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert [*track(range(3), 3, f"Decoding {name}")] == [0, 1, 2]
    assert capsys.readouterr().err.startswith(f"Decoding {name}: 3 in ")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "150")):
        monkeypatch.setenv(key, value)
    assert [*track(range(3), 3, f"Decoding {name}")] == [0, 1, 2]
    assert f"Decoding {name} " in capsys.readouterr().err
