"""Names that a user chooses from, known without loading the network's library."""

from dataclasses import dataclass

from secondglance.imaging.mask.methods import METHODS
from secondglance.imaging.published import PEAK, WIDTH
from secondglance.models.saliency.methods import saliency_methods
from secondglance.models.saliency.targets import TARGETS

SALIENCY_METHODS: tuple[str, ...] = tuple(saliency_methods())
"""Names of the files in `secondglance.models.saliency.methods`; the first is the paper's."""

MASK_METHODS: tuple[str, ...] = ('auto', *METHODS)
"""How the brain mask is made: names of `secondglance.imaging.mask.methods`, or ``auto``."""

SECOND_GLANCES: tuple[str, ...] = ('network', 'masked', 'none')
"""Method of the tissues: a second network, from head, mask and position in the brain; the network
of the first glance on the masked image, as in the paper; or the first glance itself."""

TURNS: tuple[str, ...] = ('auto', '0', '90', '180', '270')
"""By how many degrees slices are turned in plane to be upright; ``auto`` is estimated."""

MINIMUM_SIDE = 32
"""Pixels at the network's spacing: twice its stride. A slice with a shorter side is smaller than
the receptive field of the network, and is refused."""


@dataclass(frozen=True)
class SaliencyOptions:
    """How saliency is computed and enhanced.

    Attributes
    ----------
    method : str
        One of `SALIENCY_METHODS`.
    target : str
        One of `TARGETS`.
    copies : int
        Noisy copies of the image over which the map is averaged; 0 for none.
    peak, width : float
        Of the enhancement, in standard scores.
    """

    method: str = SALIENCY_METHODS[0]
    target: str = TARGETS[0]
    copies: int = 0
    peak: float = PEAK
    width: float = WIDTH


AS_PUBLISHED = SaliencyOptions()
"""The options of the paper."""
