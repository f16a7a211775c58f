"""The public API: what `from tl_core import ...` offers."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

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


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.usefixtures("photo_folder")
def test_paths_may_be_text(
    kind: type[str] | type[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cpu, cache, file = torch.device("cpu"), kind("kept"), kind("states/1.ckpt")
    images = tl_core.load_images(tl_core.find_data(kind("photos"), cache), 32, cache)
    parts = tl_core.DataRequest("", train=kind("photos"), test=kind("photos"))
    assert len(tl_core.find_data(parts, cache).ids) == 2 * len(images.ids)
    backbone = tl_core.load_backbone("mlp", "none", 32)
    assert len(tl_core.load_features(images, backbone, cache, cpu)) == len(images.ids)
    quick = {"backbone": "mlp", "image_size": 32, "epochs": 1, "min_steps": 0}
    config = tl_core.TrialConfig(mode="scratch", train_ratio=0.5, lr=1e-3, **quick)
    place = tl_core.LocalFile(file)
    place.write(b"")
    with pytest.warns(UserWarning, match="the trial starts anew"):
        result = tl_core.run_trial(config, images, cache, cpu, checkpoint=place)
    tl_core.save_model(kind("~/model"), tl_core.trained_model(result, config, images))
    assert tl_core.load_model(kind("~/model")).about.classes == images.classes
    table = tl_core.DataRequest(kind("t.csv"), root=kind("photos"))
    rows = "".join(f"{name},{name[:3]}\n" for name in images.ids)
    Path("t.csv").write_text(f"path,label\n{rows}")
    assert tl_core.find_data(table, cache).ids == images.ids
