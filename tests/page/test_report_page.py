"""A study's report in a real browser, opened as a file: with its script, without it, on a phone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from study.analysis.study_data import read_study_data
from study.reporting.build import write_report
from tests.support.studies.synthetic import large_study

pytestmark = [pytest.mark.page, pytest.mark.ci]
Scheme = Literal["light", "dark"]
NAMES = ("猫", "قطة", "बिल्ली", "🐈", "<script>alert(1)</script>", 'a & "b"', "Кошка")
ATTACK = "<img src=x onerror=alert(1)><script>alert(2)</script><style>h1{color:red}</style>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study whose classes have names in several scripts, one of them a script."""
    modes, ratios = ["freeze", "finetune"], ["0.1", "0.8"]
    study = large_study("mine", mode=modes, train_ratio=ratios, trials="20")
    study.classes = NAMES
    folder = study.write(tmp_path_factory.mktemp("runs") / "mine")
    return write_report(read_study_data(folder))


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    with opened(browser, report) as (page, faults):
        yield page
    assert faults == []


@contextmanager
def opened(
    browser: Browser, report: Path, width: int = 1280, scheme: Scheme = "light", script: bool = True
) -> Iterator[tuple[Page, list[str]]]:
    """The page, and what the browser complained of, asked for or loaded beside it."""
    faults: list[str] = []

    def asked(dialog: Dialog) -> None:
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, java_script_enabled=script
    )
    page = context.new_page()
    page.goto("about:blank")
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", asked)
    page.on("request", lambda request: faults.append(request.url))
    page.goto(f"file://{report}")
    assert faults.pop(0) == f"file://{report}"
    faults[:] = [fault for fault in faults if not fault.startswith("data:image/jpeg")]
    yield page, faults
    context.close()


def test_class_names_of_any_script_are_text(page: Page) -> None:
    figure = page.get_by_role("group", name="the winner's test images by class")
    expect(figure).to_be_visible()
    for name in NAMES:
        expect(figure.locator("text").filter(has_text=name[:17])).to_have_count(2)


def test_pointer_shows_the_value_of_the_nearest_point(page: Page) -> None:
    figure = page.locator("svg").first
    expect(figure.locator(".point title")).to_have_count(0)
    tip = page.locator(".tip")
    expect(tip).to_be_hidden()
    point = figure.locator(".point").last
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + box["height"] / 2)
    expect(tip).to_contain_text("finetune at train_ratio 0.8, 1920 images")
    expect(tip).to_contain_text("test_log_loss 0.")
    expect(tip).to_contain_text("5 seeds")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_arrow_keys_go_from_point_to_point(page: Page) -> None:
    points = page.locator("svg").nth(1).locator(".point")
    assert points.count() == 20
    expect(page.locator("svg").nth(1).locator("[tabindex='0']")).to_have_count(1)
    points.first.focus()
    expect(page.locator(".tip")).to_contain_text("freeze at train_ratio 0.1")
    page.keyboard.press("End")
    expect(points.last).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(points.nth(18)).to_be_focused()
    expect(page.locator(".tip")).to_contain_text("trial")


def test_trials_are_sorted_and_filtered(page: Page) -> None:
    rows = page.locator("table.sortable tbody tr:visible")
    total = rows.count()
    page.locator("select[data-column='1']").select_option("search")
    expect(page.locator("output")).to_have_text(f"20 of {total} rows")
    page.locator("select[data-column='3']").select_option("finetune")
    page.get_by_label("with the words").fill("0.8 done")
    scores = [float(row.split("\t")[9]) for row in rows.all_inner_texts()]
    assert 2 < len(scores) < 20
    head = page.locator("table.sortable thead th")
    head.filter(has_text="val_log_loss").get_by_role("button").focus()
    for key, reverse in (("Enter", False), (" ", True)):
        page.keyboard.press(key)
        shown = [float(row.split("\t")[9]) for row in rows.all_inner_texts()]
        assert shown == sorted(scores, reverse=reverse)
    page.get_by_label("with the words").fill("nothing has this")
    expect(page.locator("output")).to_have_text(f"0 of {total} rows")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_does_not_scroll_sideways(
    browser: Browser, report: Path, width: int, scheme: Scheme
) -> None:
    with opened(browser, report, width, scheme) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") == width
        back = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (back == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_long_name_leaves_the_printed_page_its_width(browser: Browser, tmp_path: Path) -> None:
    study = large_study("mine", mode=["freeze", "finetune"], train_ratio=["0.8"], trials="4")
    study.classes = ("cat", "dog", "Felis_silvestris_" * 8)
    report = write_report(read_study_data(study.write(tmp_path / "mine")))
    with opened(browser, report, width=680) as (page, _):  # A4 without its margins.
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth") == 680
        photos = [photo.bounding_box() for photo in page.locator(".gallery img").all()]
        assert {round(photo["width"]) for photo in photos if photo} == {160}


def test_what_is_wider_than_a_phone_fades_until_its_end(browser: Browser, report: Path) -> None:
    with opened(browser, report, 390) as (page, _):
        box = page.locator("figure .scroll").first
        expect(box).to_have_class("scroll more")
        box.evaluate("box => box.scrollTo(box.scrollWidth, 0)")
        expect(box).to_have_class("scroll")


def test_labels_neither_overlap_nor_leave_their_figure(page: Page) -> None:
    wrong = page.evaluate(
        """() => [...document.querySelectorAll("svg")].flatMap(svg => {
            const whole = svg.getBoundingClientRect(), level = [], wrong = [];
            for (const text of svg.querySelectorAll("text")) {
                const a = text.getBoundingClientRect(), name = text.textContent;
                if (a.left < whole.left - 1 || a.right > whole.right + 1) wrong.push(name);
                if (a.top < whole.top - 1 || a.bottom > whole.bottom + 1) wrong.push(name);
                if (text.hasAttribute("transform")) continue;
                for (const [b, other] of level) {
                    const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                    const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                    if (x > 1 && y > 4) wrong.push(`${name} on ${other}`);
                }
                level.push([a, name]);
            }
            return wrong;
        })"""
    )
    assert wrong == []


def test_page_is_whole_without_its_script(browser: Browser, report: Path) -> None:
    with opened(browser, report, script=False) as (page, faults):
        expect(page.locator("form.filters")).to_be_hidden()
        expect(page.locator("svg .point title").first).to_contain_text("freeze at train_ratio 0.1")
        assert page.locator("table.sortable tbody tr:visible").count() > 20
        expect(page.get_by_role("button")).to_have_count(0)
        expect(page.get_by_text("What to try next")).to_be_visible()
        assert [fault for fault in faults if "script" not in fault] == []


def test_policy_stops_what_the_page_did_not_bring(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.html"
    changed.write_text(report.read_text().replace("<header>", f"<header>{ATTACK}", 1))
    with opened(browser, changed) as (page, faults):
        color = page.evaluate("getComputedStyle(document.querySelector('h1')).color")
        assert color == "rgb(26, 26, 26)"
        assert len([fault for fault in faults if "Content Security Policy" in fault]) == 4
        assert [fault for fault in faults if fault.startswith("dialog")] == []
