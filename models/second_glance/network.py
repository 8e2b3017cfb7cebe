"""The network of the second glance: tissue fractions and atlas coordinates of every pixel."""

from __future__ import annotations

import torch

from secondglance.models.second_glance.channels import (
    ACROSS,
    CHANNELS,
    FROM_BACK,
    FROM_FRONT,
    UP,
)

OUTPUTS = ('WM', 'GM', 'CSF', 'x', 'y', 'z', 'brain')
"""Channels of the network's output: logits of the tissues, what is added to the place, and the
logit of the part of the pixel that is brain."""

N_CHANNELS = len(CHANNELS)

_CENTRE_MM = (0.0, -2.0, 1.7)
_HALF_MM = (7.3, 7.3, 5.2)
"""Where a brain that fills its mask as the rat atlas does would lie, mm of the rat atlas."""

_STEP_MM = 3.0
"""One unit of the network's output, mm."""


def split_outputs(
    outputs: torch.Tensor, channels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Separate tissues, place and share of brain.

    Parameters
    ----------
    outputs : tensor, shape (B, 7, H, W)
        Of the network.
    channels : tensor, shape (B, 13, H, W)
        What it was shown.

    Returns
    -------
    logits : tensor, shape (B, 3, H, W)
        Of WM, GM and CSF.
    coordinates : tensor, shape (B, 3, H, W)
        Of the rat atlas: right, anterior, superior, mm.
    share : tensor, shape (B, 1, H, W)
        Logit of the share of each pixel that is brain.
    """
    along = (channels[:, FROM_BACK] - channels[:, FROM_FRONT])[:, None]
    place = torch.cat([channels[:, ACROSS, None], along, channels[:, UP, None]], dim=1)
    centre, half = (
        torch.tensor(v, dtype=torch.float32, device=outputs.device).view(1, 3, 1, 1)
        for v in (_CENTRE_MM, _HALF_MM)
    )
    places = centre + half * place + _STEP_MM * outputs[:, 3:6]
    return outputs[:, :3], places, outputs[:, 6:]
