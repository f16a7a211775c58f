import base64
import re
from hashlib import sha256
from pathlib import Path

import pytest
from markupsafe import Markup

from study.reporting.page import (
    Code,
    Drawing,
    FirstScreen,
    NextStep,
    Paragraph,
    Part,
    Table,
    isolated,
    render,
    unbroken,
)
from tests.support.report_page import Page

FULL = FirstScreen(
    "A title", "A subtitle", "Use lp_ft.", ["First answer."], ["Five seeds."],
    Drawing(Markup("<svg id='first'></svg>"), "A caption."),
    [NextStep("More labels:", "python study/run.py --data 'two  words'")], ["A note."],
)  # fmt: skip


def page_of(tmp_path: Path, first: FirstScreen, **sections: list[Part]) -> Page:
    (tmp_path / "report.html").write_text(render(first, sections))
    return Page(tmp_path / "report.html")


def test_first_screen_is_in_order_and_leaves_out_what_is_empty(tmp_path: Path) -> None:
    text = page_of(tmp_path, FULL, rest=[Paragraph("Rest.")]).text
    parts = [
        "A subtitle", "Use lp_ft.", "First answer.", "Five seeds.", "A note.", "A caption.",
        "What to try next", "More labels:", "python study/run.py --data 'two  words'", "Rest.",
    ]  # fmt: skip
    places = [text.find(" ".join(part.split())) for part in parts]
    assert places == sorted(places)
    assert places[0] > 0
    empty = page_of(tmp_path, FirstScreen("A title", "A subtitle"))
    assert not {"svg", "pre", "h2"} & {tag for tag, _ in empty.tags}
    classes = {attributes.get("class") for _, attributes in empty.tags}
    assert classes.isdisjoint({"recommendation", "answers", "sure", "note"})


def test_commands_can_be_copied(tmp_path: Path) -> None:
    page_of(tmp_path, FULL, a=[Code("run 'a\n b'   --c")])
    (_, code) = re.findall("<pre>(.*?)</pre>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert Markup(code).striptags() == "run 'a b' --c"
    assert re.sub("<.*?>", "", code) == "run &#39;a\n b&#39;   --c"


def test_policy_names_the_style_and_the_script_and_nothing_else(tmp_path: Path) -> None:
    page = page_of(tmp_path, FULL)
    html = (tmp_path / "report.html").read_text()
    (policy,) = (str(a["content"]) for a in page.attributes("meta") if "http-equiv" in a)
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_headings_are_in_order_and_tables_have_heads(tmp_path: Path) -> None:
    table = Table(["mode", "n"], [["freeze", "1"], ["probe", "2"]], "Trials.", filters=["mode"])
    page = page_of(tmp_path, FULL, one=[table], two=[])
    assert [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)] == ["h1", "h2", "h2", "h2"]
    assert [a["scope"] for a in page.attributes("th")] == ["col", "col", "row", "row"]
    (form,) = page.attributes("form")
    assert "hidden" in form, "only the script shows it"
    assert [a["data-column"] for a in page.attributes("select")] == ["0"]
    assert page.attributes("html") == [{"lang": "en"}]


def test_a_wide_table_of_few_rows_is_turned() -> None:
    head = ["ratio", *"abcdefgh"]
    wide = Table(head, [["0.1", *"12345678"], ["0.8", *"23456789"]], "")
    assert list(wide.head) == ["ratio", "0.1", "0.8"]
    assert [list(row) for row in wide.rows[:2]] == [["a", "1", "2"], ["b", "2", "3"]]
    assert len(wide.rows) == 8
    for kept in (
        Table(head[:8], [["0.1", *"1234567"]], ""), Table(head, [head] * 8, ""),
        Table(head, [head], "", filters=["a"]),
    ):  # fmt: skip
        assert kept.head[:2] == ["ratio", "a"]


def test_only_cells_with_a_long_name_are_cut_in_print(tmp_path: Path) -> None:
    table = Table(["class", "file"], [["a" * 31, "cat"], ["a b " * 20, "b" * 40]], "Files.")
    cells = [a for tag, a in page_of(tmp_path, FULL, one=[table]).tags if tag in ("th", "td")]
    assert [cell.get("class") for cell in cells] == [None, None, "cut", None, None, "cut"]


@pytest.mark.parametrize("name", ["cat", "猫", "a-b (c)"])
def test_names_that_turn_nothing_stay_as_they_are(name: str) -> None:
    assert isolated(name) == name


@pytest.mark.parametrize("name", ["قطة", "חתול 1", "\u202etxt"])
def test_names_from_right_to_left_are_set_apart(name: str) -> None:
    assert isolated(name) == f"\u2068{name}\u2069"


def test_no_line_breaks_inside_a_number() -> None:
    found = unbroken("<b> & at 2e-05, 79.7 % (74.7 to 83.8 %) of -10.2 points")
    inside = re.findall('<span class="number">(.*?)</span>', found)
    assert inside == ["2e-05", "79.7 %", "83.8 %"]
    assert found.startswith("&lt;b&gt; &amp; at ")
    assert re.sub("<.*?>", "", found) == (
        "&lt;b&gt; &amp; at 2e-05, 79.7 % (74.7 to 83.8 %) of -10.2 points"
    )
