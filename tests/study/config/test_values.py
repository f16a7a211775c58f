import pytest

from study.config.program import command_of
from study.config.validate import resolve
from study.records.stored_settings import settings_of
from tests.support.studies.builders import make_settings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28_800), ("90m", 5_400), ("1h30m", 5_400), ("1.5h", 5_400), ("1d2h3m4s", 93_784)],
)
def test_a_duration_becomes_seconds(text: str, seconds: float) -> None:
    settings = make_settings(data="photos", max_time=text)
    assert settings.max_time == seconds
    assert "max" not in command_of(settings), "a limit is one command's"
    stored = {"settings": settings.model_dump(mode="json")}
    assert settings_of(stored).max_time == seconds


@pytest.mark.parametrize(
    "text", ["", "8", "8 hours", "h", "30m1h", "-1h", "1h 30m", "0h", "400d", "9" * 400 + "d"]
)
def test_what_is_no_duration_is_a_fault(text: str) -> None:
    [fault] = resolve({"data": "photos", "max_time": text})[1]
    assert fault.flag == "--max-time"
    rules = (
        "a duration is expected, such as 8h, 90m or 1h30m",
        "must be greater than 0",
        "31622400",
    )
    assert any(rule in fault.message for rule in rules)


@pytest.mark.parametrize("name", ["out", "cache"])
def test_no_name_is_no_folder(name: str) -> None:
    [fault] = resolve({"data": "photos", name: ""})[1]
    assert str(fault) == f"--{name} : a folder is expected; . is the working folder"
    assert str(getattr(make_settings(data="photos", **{name: "."}), name)) == "."
