"""Deconvnet: the gradient under a rule of its own for each ReLU."""

from secondglance.models.saliency.rectifiers import DeconvnetReLU

NAME = 'deconvnet'
CITATION = 'a deconvolutional network (Zeiler and Fergus 2014, arXiv:1311.2901)'
RECTIFIER = DeconvnetReLU
