"""Names that a user chooses from, known without loading the network's library."""

from secondglance.imaging.labels import TISSUES

SALIENCY_METHODS: tuple[str, ...] = (
    'guided',
    'deconvnet',
    'gradient',
    'input-x-gradient',
    'integrated-gradients',
)
"""How a target is followed back to the pixels; the first is the paper's."""

TARGETS: tuple[str, ...] = ('brain', *TISSUES)
"""Whose logits are summed: one tissue's or all three."""

MASK_METHODS: tuple[str, ...] = ('network', 'first-glance', 'correlation', 'similarity')
"""Whose mask removes the background: what a second network makes of all that was found, what the
first glance saw as brain, or a donor's, moved as in the paper, or also scaled and turned."""

TURNS: tuple[str, ...] = ('auto', '0', '90', '180', '270')
"""By how many degrees slices are turned in plane so that the head is upright; found, or told."""

MINIMUM_SIDE = 32
"""Pixels at the network's spacing: twice its stride. A slice with a shorter side is less than the
network's receptive field, and shows it too little to be judged."""
