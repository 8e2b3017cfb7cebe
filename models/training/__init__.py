"""Training: recipes, loop, samples, evaluation, calibration."""
