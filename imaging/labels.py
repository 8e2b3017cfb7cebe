"""The tissue classes, in the order in which networks and files hold them."""

CLASSES: tuple[str, ...] = ('background', 'WM', 'GM', 'CSF')
"""Names of the classes; the place in the tuple is the label's value."""

BRAIN_SHARE = 1 / 3
"""A pixel is brain where its tissues fill at least this share of it.

Whoever draws a mask counts in the pixels at the surface that show brain at all.
"""

TISSUES: tuple[str, ...] = CLASSES[1:]
"""The classes that together are the brain."""
