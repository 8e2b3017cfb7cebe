"""The plain gradient."""

NAME = 'gradient'
CITATION = 'the gradient (Simonyan et al. 2013, arXiv:1312.6034)'
