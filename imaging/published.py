"""Constants of the method as published."""

PAPER_SPACING = 0.375
"""In-plane spacing, mm; the acquisition of Matos et al. 2019, section 3.1."""

PEAK = 2.0
"""Standard score that is kept whole; Matos et al. 2019."""

WIDTH = 0.5
"""Width of what is kept about the peak, in standard scores; Matos et al. 2019."""
