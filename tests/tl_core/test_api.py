"""The public API: what `from tl_core import ...` offers."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tl_core


@pytest.mark.parametrize("name", tl_core.__all__)
def test_every_public_name_is_there_with_a_docstring(name: str) -> None:
    found = getattr(tl_core, name)
    assert found.__name__ == name
    assert found.__doc__
    # A dataclass without a docstring gets its signature as one.
    assert not found.__doc__.startswith(f"{name}(")
    assert name in dir(tl_core)


def test_the_package_has_no_other_name_and_the_version_of_the_distribution() -> None:
    assert sorted(name for names in tl_core._MODULES.values() for name in names) == tl_core.__all__
    with pytest.raises(AttributeError, match="module 'tl_core' has no attribute 'nothing'"):
        _ = tl_core.nothing
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert tl_core.__version__ == project["version"]


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, tl_core; tl_core.TrialConfig; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
