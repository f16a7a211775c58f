"""Paired differences of log losses: what a mistake costs that no test image has shown.

A few images have most of a log loss: those on which a network is wrong. Of two modes with equal
true log losses, one too sure and one not sure enough, the sure one pays for few images only. Where
the test set has not had its share of these, that mode seems better, and on all images alike: in
simulated studies with 24 to 60 test images, Student's t alone called it better in 7 to 23 %.
"""

import numpy as np

from study.intervals.two_way import Floats

_EPSILON = float(np.finfo(float).eps)


def mistake_pseudo(losses: Floats, minus: Floats) -> Floats:
    """Return the value of the pseudo-image of a difference of log losses, [..., 1, 1].

    On it both modes are wrong, each as sure as it usually is. It counts half: half a mistake is
    what Jeffreys's prior adds to a share (Brown, Cai and DasGupta, Statistical Science 16, 2001),
    and Anscombe (Biometrika 43, 1956) to the counts of a log odds.

    Args:
        losses: of S networks on N images, [..., S, N].
        minus: those to compare them with, likewise.
    """
    return (_if_wrong(losses) - _if_wrong(minus)) / 2


def _if_wrong(losses: Floats) -> Floats:
    """The mean loss of a wrong answer, [..., 1, 1].

    Where the true class is the likelier one, it is that of the rest of the probability.
    """
    against = -np.log(np.maximum(-np.expm1(-losses), _EPSILON))
    found: Floats = np.maximum(losses, against).mean(axis=(-2, -1), keepdims=True)
    return found
