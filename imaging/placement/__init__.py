"""Placement of a donor's brain mask: correlation, slice matching, similarity, shifts."""
