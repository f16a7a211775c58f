"""Cache entries for tests, and who builds them."""

from collections.abc import Callable
from pathlib import Path

Entry = dict[str, bytes]


def writes(files: Entry) -> Callable[[Path], None]:
    def build(into: Path) -> None:
        for name, content in files.items():
            (into / name).write_bytes(content)

    return build


def refuse(into: Path) -> None:
    raise AssertionError("built although it was there")


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix not in (".lock", ".TAG")}
