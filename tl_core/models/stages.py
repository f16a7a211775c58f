"""A headless network as a list of stages: the last ones learn, or learn faster, than the others.

A stage shares the modules of its network, so what trains a stage trains the network. It is what
the family's paper calls a stage, block or layer of its table: a run of blocks with the same number
of channels; one encoder block of a Vision Transformer; one fully connected layer. The first stage
includes the stem, the last one the head convolution, the final norm and the pooling. A layer that
shrinks the image begins a stage, but in DenseNet and VGG, which have it apart, it ends one: what is
handed on is smaller.
"""

from collections.abc import Iterable, Iterator

from torch import nn

from tl_core.errors import Fault, InputError
from tl_core.models.article import ARTICLE_WIDTHS
from tl_core.models.backbones import network_class
from tl_core.models.cuts import ARTICLE, CUTS
from tl_core.models.weights import BackboneError


def stages(network: nn.Module) -> list[nn.Sequential]:
    """Cut a headless network: its stages, one after another, compute exactly what it does.

    Raises:
        BackboneError: the networks of this class are not in `CUTS`.
    """
    cut = CUTS.get(_family(type(network)))
    if cut is None:
        raise _uncut(_family(type(network)))
    return [nn.Sequential(*parts) for parts in cut(network)]


def split(network: nn.Module, unfreeze: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Split a headless network into two that share its modules: a prefix, and the last stages.

    Args:
        network: as for `stages`.
        unfreeze: stages of the second part.

    Raises:
        BackboneError: as for `stages`.
        InputError: one of the two parts would be empty.
    """
    found = stages(network)
    if not 0 < unfreeze < len(found):
        why = f"this {type(network).__name__} has {len(found)} stages, so the last 1 to "
        why += f"{len(found) - 1} can learn alone"
        ways_out = "--mode finetune trains them all, --mode freeze none"
        raise InputError([Fault("--unfreeze", f"{unfreeze}: {why}; {ways_out}")])
    return nn.Sequential(*found[:-unfreeze]), nn.Sequential(*found[-unfreeze:])


def check_cuttable(name: str) -> None:
    """Raise `BackboneError` unless the backbone of this name can be cut; builds no network."""
    family = _family(network_class(name))
    if family not in CUTS:
        raise _uncut(family)


def layer_decay_groups(
    parts: Iterable[nn.Module], decay: float
) -> Iterator[tuple[list[nn.Parameter], float]]:
    """Yield the parameters of each stage, and the factor of their learning rate.

    The factor is `decay` to the number of stages above, the head being one: `decay` for the last
    stage, least for the stem (Clark et al., ELECTRA, ICLR 2020, appendix B; for images Bao et al.,
    BEiT, ICLR 2022, and He et al., MAE, CVPR 2022, appendix A). There the final norm counts as
    part of the head, here as part of the last stage.

    Args:
        parts: all stages of a network, or its last ones.
        decay: above 0 and at most 1; MAE's recipes use 0.65 to 0.75 for Vision Transformers.
    """
    given = list(parts)
    for above, stage in zip(range(len(given), 0, -1), given, strict=True):
        yield list(stage.parameters()), decay**above


def _family(kind: type) -> str:
    return f"{kind.__module__.partition('.')[0]} {kind.__qualname__}"


def _uncut(family: str) -> BackboneError:
    named = [known for known in CUTS if known != ARTICLE]
    return BackboneError(
        f"{family} is no network that can be cut into stages (--mode partial, --layer-decay); must "
        f"be {', '.join(ARTICLE_WIDTHS)} or one of {', '.join(named)}"
    )
