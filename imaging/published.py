"""Constants of the method as published."""

PEAK = 2.0
"""Standard score that is kept whole; Matos et al. 2019."""

WIDTH = 0.5
"""Width of what is kept about the peak, in standard scores; Matos et al. 2019."""
