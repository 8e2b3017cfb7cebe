"""Methods of the brain mask, an entry each: command line, graph, report and docs read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secondglance.imaging.mask.quality import MaskEvidence


@dataclass(frozen=True)
class MaskMethod:
    """How a brain mask is made of what was found in a head.

    Attributes
    ----------
    summary : str
        For ``--help``.
    probability : callable
        From `secondglance.imaging.mask.quality.MaskEvidence` to the probability of brain,
        (N, H, W); its one connected piece becomes the mask. None: another animal's mask, as it
        was placed.
    caption : str
        Below the picture of the mask in the report.
    sentence : str
        For the methods paragraph of the report; ``{refinement}`` is the checksum of its weights.
    similarity : bool
        Whether the donor's mask is scaled and turned, too, when it is placed.
    """

    summary: str
    probability: Callable[[MaskEvidence], NDArray] | None
    caption: str
    sentence: str = ''
    similarity: bool = False


METHODS: dict[str, MaskMethod] = {
    'network': MaskMethod(
        'a second network combines first glance, saliency and placed mask',
        lambda found: found.refined,
        'The brain mask of a second network, from the image, the first glance at it and at its '
        "neighbours, the saliency, and another animal's mask placed by the cross-correlation of "
        'saliency.',
        'A second network (weights {refinement}) combined the image, the first segmentation and '
        'its neighbouring slices, the saliency and the placed mask into the brain mask. ',
    ),
    'first-glance': MaskMethod(
        'the brain of the first glance',
        lambda found: found.first,
        'What the first glance labelled as tissue, as one connected piece; the mask of another '
        'animal, placed by the cross-correlation of saliency, decided between pieces.',
        'The brain mask was one connected piece of what the network had labelled as tissue; '
        'the placed mask decided between pieces. ',
    ),
    'correlation': MaskMethod(
        "a donor's mask, moved as in the paper",
        None,
        'The mask of another animal, at the place where the cross-correlation of saliency was '
        'highest.',
    ),
    'similarity': MaskMethod(
        "a donor's mask, moved, scaled and turned",
        None,
        'The mask of another animal, scaled, turned and placed where the cross-correlation of '
        'saliency was highest.',
        'The mask was also scaled and turned in plane to where it correlated best. ',
        similarity=True,
    ),
}
"""Name → method. The first is taken by ``auto`` unless its mask is doubtful and another is not."""


def scales_masks(method: str) -> bool:
    """Tell whether a method, or ``auto``, scales and turns the donor's mask.

    Examples
    --------
    >>> scales_masks('auto'), scales_masks('similarity')
    (False, True)
    """
    return method in METHODS and METHODS[method].similarity


def is_placed(method: str) -> bool:
    """Whether the brain mask of a method is the donor's, so that its shifts matter.

    Examples
    --------
    >>> is_placed('correlation'), is_placed('network')
    (True, False)
    """
    return METHODS[method].probability is None
