"""Prefixes of the names in a checkpoint."""

import pytest

from tl_core.models.nets import SeveralNetworksError, find_prefix

OWN = ("conv.weight", "conv.bias", "1.weight")


def below(prefix: str) -> list[str]:
    return [prefix + name for name in OWN]


@pytest.mark.parametrize(("names", "prefix"), [
    ([*OWN], ""), ([*OWN, "model.conv.weight"], ""), ([], ""), (["conv.weight"], ""),
    (below("model."), "model."), ([*below("model.module."), "loss.weight"], "model.module."),
    ([*below("model."), "ema.conv.weight"], "model."),
    (below("model.")[:2], ""),  # Not the whole network.
    (below("model"), ""),  # A prefix ends with a dot.
    (["model.old.weight", *below("model.")[1:]], "model."),
])  # fmt: skip
def test_the_prefix_of_the_whole_network(names: list[str], prefix: str) -> None:
    assert find_prefix(OWN, names, lambda name: name.replace("old.", "conv.")) == prefix


def test_several_networks_are_refused() -> None:
    with pytest.raises(SeveralNetworksError, match=r"^student\. and teacher\.$"):
        find_prefix(OWN, [*below("teacher."), *below("student.")], str)
