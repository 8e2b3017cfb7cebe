"""Simulated animals: atlas, animal, head, contrast, scanner artefacts, diffusion series."""
