"""Segmentation of rodent brain tissue in MRI by looking twice."""

__version__ = '0.1.0'
