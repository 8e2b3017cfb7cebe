"""The tissue classes, in the order in which networks and files hold them."""

CLASSES: tuple[str, ...] = ('background', 'WM', 'GM', 'CSF')
"""Names of the classes; the place in the tuple is the label's value."""

TISSUES: tuple[str, ...] = CLASSES[1:]
"""The classes that together are the brain."""
