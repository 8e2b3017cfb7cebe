"""Deconvnet: a rule for the gradient of each ReLU."""

from typing import Any

import torch

from secondglance.models.saliency.rectifiers import relu

NAME = 'deconvnet'
CITATION = 'a deconvolutional network (Zeiler and Fergus 2014, arXiv:1311.2901)'


class DeconvnetReLU(torch.autograd.Function):
    """ReLU that passes the gradient only where the arriving gradient is positive."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor) -> torch.Tensor:
        return relu(features)

    @staticmethod
    def backward(ctx: Any, *arriving: torch.Tensor) -> torch.Tensor:
        return relu(arriving[0])


RECTIFIER = DeconvnetReLU
