"""Only what is known passes, whatever matplotlib, or a name in its output, has written."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from study.reporting.figures.svg import Point, tidy, to_text

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'width="10pt" height="20pt" viewBox="0 0 10 20">'
)


def tidied(content: str, points: tuple[Point, ...] = ()) -> Element:
    return tidy(f"{HEAD}{content}</svg>".encode(), "mine", "A title", "What it shows.", points)


def drawing(content: str) -> str:
    found = tidied(content).find("g[@class='drawing']")
    assert found is not None
    return "".join(to_text(child) for child in found)


def test_the_whole_has_a_title_and_a_description() -> None:
    svg = tidied("")
    assert svg.get("role") == "img"
    for attribute, text in (("aria-labelledby", "A title"), ("aria-describedby", "What it shows.")):
        (found,) = (e for e in svg.iter() if e.get("id") == svg.get(attribute))
        assert found.text == text
    assert (svg.get("width"), svg.get("viewBox")) == ("10pt", "0 0 10 20")


@pytest.mark.parametrize("content", [
    "<script>alert(1)</script>", "<style>*{}</style>", "<metadata><title>x</title></metadata>",
    "<foreignObject><b>x</b></foreignObject>", "<a href='javascript:alert(1)'/>",
    "<!-- a comment -->", "<animate onbegin='alert(1)'/>", "<g id='empty'><g/></g>",
    "<x xmlns='http://www.w3.org/1999/xhtml'/>",
])  # fmt: skip
def test_what_is_unknown_is_left_out(content: str) -> None:
    assert drawing(content) == ""


@pytest.mark.parametrize(("content", "expected"), [
    ("<rect onclick='alert(1)' class='c' x='1'/>", '<rect x="1" />'),
    ("<rect style='fill: #ff0000; background: url(http://x); stroke-width: 0.8'/>",
     '<rect fill="#ff0000" stroke-width="0.8" />'),
    ("<rect fill='url(//x/y)' stroke='u\\72l(x)' transform='rotate(45 1.234 5)'/>",
     '<rect transform="rotate(45 1.23 5)" />'),
    ("<use xlink:href='x.svg#y'/><g style='clip-path: url(#z)'><rect/></g>", "<use /><rect />"),
    ("<image xlink:href='http://x/y.png' x='1'/>", '<image x="1" />'),
    ("<image xlink:href='data:image/png;base64,\nAB\nCD'/>",
     '<image xlink:href="data:image/png;base64,ABCD" />'),
    ("<image xlink:href='data:image/svg+xml;base64,AB'/>", "<image />"),
    ("<path d='M 1.23456 -2.0000001 \nL 3 4 \nz\n'/>", '<path d="M 1.23 -2 L 3 4 z" />'),
    ("<g id='a'><g><rect/></g></g>", "<rect />"),
    ("<defs><path id='m1' d='z'/><path id='m2' d='z'/></defs><use xlink:href='#m2'/>",
     '<defs><path d="z" /><path d="z" id="figure-mine-0" /></defs>'
     '<use xlink:href="#figure-mine-0" />'),
    ("<defs><clipPath id='c'><rect/></clipPath></defs><g clip-path='url(#c)'><rect/></g>",
     '<defs><clipPath id="figure-mine-0"><rect /></clipPath></defs>'
     '<g clip-path="url(#figure-mine-0)"><rect /></g>'),
    ("<text style='font-family: X; text-anchor: end' x='1' y='2' transform='rotate(-0 1 2)'>"
     "a &amp; &lt;b></text>", '<text x="1" y="2" text-anchor="end">a &amp; &lt;b&gt;</text>'),
    ("<text transform='rotate(-90 1 2)' text-anchor='middle'>a\x07\uffffb</text>",
     '<text transform="rotate(-90 1 2)" text-anchor="middle">a??b</text>'),
])  # fmt: skip
def test_the_known_is_shorter_and_has_no_style(content: str, expected: str) -> None:
    assert drawing(content) == expected


def test_lines_without_an_anchor_are_centred() -> None:
    lines = "".join(
        f"<text style='font-size: 9px' transform='translate({x} 5)'>{text}</text>"
        for x, text in ((10, "mmmm"), (10, "i"))
    )
    wide, narrow = ElementTree.fromstring(f"<g>{drawing(lines)}</g>")
    assert (wide.get("text-anchor"), wide.get("y"), wide.get("transform")) == ("middle", "5", None)
    assert 10 < float(narrow.get("x", "")) < 13 < float(wide.get("x", "")) < 35


def test_points_have_titles_that_browsers_show() -> None:
    svg = tidied("<rect/>", ((1.234, 2, "trial 1\n<b>"), (3, 4, "trial 2")))
    group = svg.find("g[@class='points']")
    assert group is not None
    assert [title.text for title in group.iter("title")] == ["trial 1\n<b>", "trial 2"]
    assert [(c.get("cx"), c.get("cy")) for c in group.iter("circle")] == [
        ("1.2", "2.0"),
        ("3.0", "4.0"),
    ]
    assert "trial 1\n&lt;b&gt;" in to_text(svg)
    assert tidied("<rect/>").find("g[@class='points']") is None
