"""Files that are whole whenever they are looked at."""

from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a kill, never meets half of it."""
    fresh = path.with_name(f".{path.name}.fresh")
    if isinstance(content, bytes):
        fresh.write_bytes(content)
    else:
        # Names of files and classes need not be UTF-8; to JSON the escapes mean the same.
        fresh.write_text(content, errors="backslashreplace")
    fresh.replace(path)
