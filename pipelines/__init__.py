"""Nipype workflow factories, one sub-workflow a file."""
