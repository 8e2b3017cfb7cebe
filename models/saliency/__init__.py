"""Saliency: attribution of a target to pixels, and tests of it."""
