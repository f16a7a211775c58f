"""What a machine lacks, which all trials of a study share, is the machine's fault."""

import errno
from pathlib import Path

import pytest

from study.cluster.stores import Folder
from study.errors import NodeError
from study.trials.trial_context import TrialContext, on_node
from tl_core.errors import InputError


def make_context(folder: Path, versions: tuple[tuple[str, str], ...] = ()) -> TrialContext:
    return TrialContext(folder, "images/x", Folder(folder), "val_log_loss", versions=versions)


def test_on_a_cluster_the_fault_names_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.cluster.join.own_address", lambda: "10.0.0.7")
    joined = make_context(tmp_path, versions=(("python", "3.11"),))
    with pytest.raises(NodeError, match=r"^node 10\.0\.0\.7: no weights$"), on_node(joined):
        raise InputError(["no weights"])


KEPT = "what has ended is kept, and what the cache lacks is made again"


@pytest.mark.parametrize(("error", "told"), [
    (InputError(["no weights"]), "no weights"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "C/images/x/about.json"),
     "C/images/x/about.json is gone, which all trials need; "
     f"no file of the cache, C, may be removed while a study runs; {KEPT}"),
    (OSError(errno.EIO, "Input/output error", "C/images/x/pixels.npy"),
     "C/images/x/pixels.npy can't be read: Input/output error, which all trials need; " + KEPT),
    (OSError("no reason"), f"C can't be read: no reason, which all trials need; {KEPT}"),
])  # fmt: skip
def test_without_one_the_fault_says_what_is_gone_and_what_is_left(
    error: Exception, told: str
) -> None:
    with pytest.raises(NodeError) as raised, on_node(make_context(Path("C"))):
        raise error
    assert str(raised.value) == told


def test_a_full_disk_stays_one() -> None:
    with pytest.raises(OSError, match="no space"), on_node(make_context(Path("C"))):
        raise OSError(errno.ENOSPC, "no space")
