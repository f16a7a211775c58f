import os
from pathlib import Path

import pytest
from torch._inductor.runtime.cache_dir_utils import cache_dir

from tl_core.errors import InputError
from tl_core.runtime import use_private_cache


@pytest.fixture(autouse=True)
def no_folder_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no folder, and is restored."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_the_compiler_uses_a_folder_of_this_user_alone(tmp_path: Path) -> None:
    own = tmp_path / "cache" / f"compiled-{os.getuid()}"
    use_private_cache(tmp_path / "cache")
    assert cache_dir() == str(own / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == str(own / "triton")
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    use_private_cache(tmp_path / "other")  # Once named, a folder stays.
    use_private_cache(tmp_path / "cache")
    assert cache_dir() == str(own / "inductor")
    assert own.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compiled-1234567").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 1234567)
    message = "keeps what it makes in --cache: .*/compiled-1234567 must be a folder of user 1234567"
    with pytest.raises(InputError, match=f"^--compile {message}, as its files are run; remove it$"):
        use_private_cache(tmp_path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"compiled-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="must be a folder of user"):
        use_private_cache(tmp_path)
