"""Where torch's compiler keeps what it makes."""

import os
import stat
from pathlib import Path

from tl_core.errors import Fault, InputError

_FOLDERS = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
"""Variables of the environment that name the folders, and what these are called here."""


def use_private_cache(cache: Path) -> None:
    """Have the compiler use a folder below `cache` that no other user can read or write.

    It runs and unpickles what it finds there. Its own choice is a folder of everybody's `/tmp`,
    with a name that anybody can take first. A folder that the environment names is used as it is.

    Raises:
        InputError: the folder is another user's, or none.
    """
    folder = cache / f"compiled-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
        why = f"{folder} must be a folder of user {os.getuid()}, as its files are run; remove it"
        raise InputError([Fault("--compile", f"keeps what it makes in --cache: {why}")])
    folder.chmod(0o700)
    for variable, name in _FOLDERS.items():
        os.environ.setdefault(variable, str(folder / name))
