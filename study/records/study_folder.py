"""A study's folder: how it is found, and what its parts are called."""

from pathlib import Path

PAGE, FIGURES = "report.html", "figures"


def find_study(study: str, out: Path) -> Path:
    """Return the folder of a study, given its name or its path.

    Raises `FileNotFoundError`, listing the studies that there are.
    """
    for folder in (out / study, Path(study)):
        if (folder / "study.json").is_file():
            return folder
    there = sorted(path.parent.name for path in out.glob("*/study.json"))
    known = f"there are: {', '.join(there)}" if there else "there is none; --out names its folder"
    raise FileNotFoundError(f"no study {study} in {out}/; {known}")
