"""Brightness and disease of simulated tissues."""

import numpy as np
import torch

from secondglance.simulation.contrast import brain_signal, vary_tissues


def brain_of_grey(n=2, side=40):
    maps = torch.zeros(n, 6, side, side)
    maps[:, 2, 5:-5, 5:-5] = 1
    maps[:, 0] = 1 - maps[:, 2]
    return maps


def test_a_lesion_is_a_round_spot_of_one_tissue(steady):
    """In 15 of 100 slices; the least that is drawn is white matter, at a tenth of the ranges."""
    maps = brain_of_grey()
    varied = vary_tissues(maps, steady(0.1))
    spot = varied[:, 1] > 0.5
    # 1.5 pixels of radius, longer one way than the other by as much as it is narrower
    assert (spot.flatten(1).sum(dim=1) > 3).all()
    assert (spot.flatten(1).sum(dim=1) < 14).all()
    rows, columns = torch.nonzero(spot[0], as_tuple=True)
    # At 30 % of the slice along both axes
    assert abs(rows.float().mean() - 12) < 1
    assert abs(columns.float().mean() - 12) < 1
    assert torch.equal(varied[:, 1] + varied[:, 2], maps[:, 2])
    assert torch.equal(vary_tissues(maps, steady(0.5)), maps)


def test_the_brain_is_as_bright_as_its_contrast_says(steady):
    """A pixel that two tissues share has the mean of both."""
    maps = torch.zeros(1, 6, 4, 4)
    maps[0, 1], maps[0, 3] = 0.25, 0.5
    found = brain_signal(maps, steady(0.5), (0.4, 0.6, 1.2))
    np.testing.assert_allclose(found, 0.25 * 0.4 + 0.5 * 1.2, rtol=1e-6)
