"""A study's folder: how it is found, and what its parts are called."""

from pathlib import Path

from study.config.defaults import DEFAULTS
from tl_core.files import user_path
from tl_core.inference.model_card import CARD

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


def find_model(model: str) -> Path:
    """Return the model that is meant by a study's name or folder, or its winner's folder or file.

    It need not exist.
    """
    path = user_path(model)
    if not path.exists() and (named := Path(DEFAULTS["out"]) / model).is_dir():
        path = named
    winner = path / "winner"
    return winner if winner.is_dir() and not (path / CARD).exists() else path
