"""Heads that grow or shrink keep their distances to the brain in millimetres."""

import numpy as np
import pytest

from secondglance.simulation import head_slices, head_stack, placed_stack

SPACING = 0.5  # of the rod


@pytest.mark.parametrize(
    ('module', 'scan'),
    [
        (head_slices, lambda animal, rng: head_slices.draw_heads([animal], rng, 2, SPACING)),
        (head_stack, lambda animal, rng: head_stack.draw_head(animal, rng, 1.0)),
        (placed_stack, lambda animal, rng: placed_stack.draw_placed(animal, rng, thickness=1.0)),
    ],
    ids=['slices', 'stack', 'placed'],
)
def test_a_millimetre_further_out_is_a_millimetre_further_away(
    module, scan, rod, steady, monkeypatch
):
    handed, draw = [], head_slices.render_heads

    def render(maps, *others, **options):
        handed.append(maps.numpy())
        return draw(maps, *others, **options)

    monkeypatch.setattr(module, 'render_heads', render)
    scan(rod, steady(0.9))
    for one in handed[0]:
        # The head shrank or grew by a tenth or so
        radius = np.sqrt((one[1:4].sum(axis=0) > 0.5).sum() * SPACING**2 / np.pi)
        assert abs(radius - 4) > 0.2
        row = one[5, 24]
        beyond = (row > 1) & (row < 6)
        assert beyond.sum() > 10
        steps = np.abs(np.diff(row))[beyond[1:] & beyond[:-1]]
        np.testing.assert_allclose(steps, SPACING, rtol=0.03)
