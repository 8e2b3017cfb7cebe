"""The tissue classes, in the order of the networks' channels; files have that of BIDS."""

CLASSES: tuple[str, ...] = ('background', 'WM', 'GM', 'CSF')
"""Names of the classes; the place in the tuple is the channel. `secondglance.files.labels` has the
values in label files."""

BRAIN_SHARE = 1 / 3
"""A pixel is brain where its tissues fill at least this share of it.

People who draw masks include the pixels at the surface that show brain at all.
"""

TISSUES: tuple[str, ...] = CLASSES[1:]
"""The classes that together are the brain."""
