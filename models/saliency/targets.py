"""What saliency explains."""

from secondglance.imaging.labels import TISSUES

TARGETS: tuple[str, ...] = ('brain', *TISSUES)
"""Class to explain: the summed logits of one tissue, or of all three."""
