"""The gradient times the image."""

from __future__ import annotations

import torch

from secondglance.models.saliency.follower import Follower

NAME = 'input-x-gradient'
CITATION = 'the gradient times the image (Shrikumar et al. 2016, arXiv:1605.01713)'


def attribute(
    follow: Follower, images: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gradient of the target, times the image."""
    gradient, logits = follow.gradient(images)
    return gradient * images[:, 0], logits
