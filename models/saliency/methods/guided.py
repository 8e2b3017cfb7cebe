"""Guided backpropagation, the method of the paper: a rule for the gradient of each ReLU."""

from typing import Any

import torch

from secondglance.models.saliency.rectifiers import relu, relu_backward

NAME = 'guided'
CITATION = 'guided backpropagation (Springenberg et al. 2014, arXiv:1412.6806)'


class GuidedReLU(torch.autograd.Function):
    """ReLU that passes the gradient only where input and arriving gradient are positive.

    With input u and arriving gradient g, what passes is g [u > 0] [g > 0].
    """

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor) -> torch.Tensor:
        rectified: torch.Tensor = relu(features)
        ctx.save_for_backward(rectified)
        return rectified

    @staticmethod
    def backward(ctx: Any, *arriving: torch.Tensor) -> torch.Tensor:
        (rectified,) = ctx.saved_tensors
        return relu_backward(relu(arriving[0]), rectified, 0)


RECTIFIER = GuidedReLU
