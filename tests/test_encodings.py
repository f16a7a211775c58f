"""Text files are read and written as UTF-8, whatever the locale says.

Ruff's PLW1514 sees only what it can tell the type of.
"""

import ast

import pytest

from tests.support.sources import files_of, nodes_of

_TEXT_METHODS = {"read_text", "write_text"}
_PROCESSES = {"run", "Popen", "check_output"}


def lacks_encoding(call: ast.Call) -> bool:
    """Whether a call opens text in the encoding of the locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {word.arg for word in call.keywords}
    if "encoding" in given:
        return False
    if name in _PROCESSES:
        return bool(given & {"text", "universal_newlines"})
    if name in _TEXT_METHODS:
        return True
    if name not in {"open", "fdopen"}:
        return False
    modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    alone = isinstance(call.func, ast.Attribute) and not call.args and not call.keywords
    return alone or any({*mode} <= {*"rwaxt+"} for mode in modes)


@pytest.mark.parametrize(("code", "found"), [
    ("path.read_text()", True), ("path.read_text(encoding='utf-8')", False),
    ("path.write_text(text)", True), ("path.open()", True), ("path.open('w')", True),
    ("path.open('rb')", False), ("open(path, 'a')", True), ("os.fdopen(number, 'w')", True),
    ("Image.open(path)", False), ("os.open(path, os.O_RDONLY)", False),
    ("subprocess.run(words, text=True)", True), ("subprocess.run(words)", False),
])  # fmt: skip
def test_calls_that_take_the_encoding_of_the_locale(code: str, found: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert lacks_encoding(call) is found


def test_no_text_depends_on_the_locale() -> None:
    found = [
        f"{file}:{node.lineno}"
        for file in files_of("study", "tl_core")
        for node in nodes_of(file)
        if isinstance(node, ast.Call) and lacks_encoding(node)
    ]
    assert found == []
