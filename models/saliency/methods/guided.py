"""Guided backpropagation: the gradient under a rule of its own for each ReLU."""

from secondglance.models.saliency.rectifiers import GuidedReLU

NAME = 'guided'
CITATION = 'guided backpropagation (Springenberg et al. 2014, arXiv:1412.6806)'
RECTIFIER = GuidedReLU
