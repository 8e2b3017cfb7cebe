"""Species: their names, and how they differ in size."""

AUTO = 'auto'

HEAD_RADIUS_MM = {'rat': 10.0, 'mouse': 5.0}
"""At which rotations of the head are turned into mm."""

BRAIN_SIZE = {'rat': 1.0, 'mouse': 0.65}
"""Length of a brain beside a rat's: a mouse's of 450 to 500 mm³ beside one of 1700 to 1900 mm³.

Networks are trained on rats; with pixels this much smaller a mouse looks like a rat to them.
"""

MOUSE_SECTION_MM2 = 80.0
"""Largest coronal section below which a brain is a mouse's, mm².

Those of adult mice are 45 to 65 mm² large, those of rats 100 to 140 mm².
"""


def species_of_section(area: float) -> str:
    """Estimate the species from the largest coronal section of the brain, mm².

    Examples
    --------
    >>> species_of_section(52.0), species_of_section(131.0)
    ('mouse', 'rat')
    """
    return 'mouse' if area < MOUSE_SECTION_MM2 else 'rat'
