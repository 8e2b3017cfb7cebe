"""How species differ in size."""

HEAD_RADIUS_MM = {'rat': 10.0, 'mouse': 5.0}
"""At which rotations of the head are turned into mm."""

BRAIN_SIZE = {'rat': 1.0, 'mouse': 0.65}
"""Length of a brain beside a rat's: a mouse's of 450 to 500 mm³ beside one of 1700 to 1900 mm³.

Networks know rats; a mouse seen with pixels this much smaller looks like one to them.
"""
