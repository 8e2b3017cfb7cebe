import numpy as np
import pytest
import torch

from secondglance.simulation import scanner
from secondglance.simulation.random_fields import elastic_displacement
from secondglance.simulation.scanner import (
    add_nyquist_ghost,
    add_rician_noise,
    bias_field,
    cut_off,
    field_of_view,
    log_bias,
    simulate_scanner,
)


def test_bias_is_positive_smooth_and_of_mean_one(rng):
    field = bias_field((20, 24, 12), rng, 0.3)
    assert field.min() > 0
    assert field.mean() == pytest.approx(1, abs=1e-4)
    assert 0.05 < np.log(field).std() < 0.6
    assert np.abs(np.diff(field, axis=0)).max() < 0.3


def test_noise_in_air_is_rayleigh(rng):
    air = add_rician_noise(torch.zeros(200_000), 2.0, rng)
    assert air.mean().item() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.01)


def test_ghost_lies_half_a_field_of_view_away():
    image = torch.zeros(8, 6)
    image[1, 1] = 10
    ghost = add_nyquist_ghost(image, 0.1, axis=0)
    assert ghost[5, 1].item() == pytest.approx(1)
    assert ghost[1, 1] == 10


def test_displacement_has_its_amplitude(rng):
    field = elastic_displacement((20, 20, 20), rng, 0.5)
    assert field.shape == (3, 20, 20, 20)
    assert 0.2 < field.std() < 1


def test_ghost_of_a_ghost_free_scan_is_the_scan(rng):
    image = torch.from_numpy(rng.random((6, 5, 4), dtype=np.float32))
    assert torch.equal(add_nyquist_ghost(image, 0.0, axis=1), image)


def test_strong_signal_keeps_gaussian_noise_around_it(rng):
    # Rician at high SNR: mean A + s**2 / (2 A), standard deviation s
    noisy = add_rician_noise(torch.full((200_000,), 100.0), 2.0, rng)
    assert noisy.mean().item() == pytest.approx(100.02, abs=0.02)
    assert noisy.std().item() == pytest.approx(2, rel=0.02)


def test_a_seed_is_a_field():
    one, two = (bias_field((9, 8, 7), np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_the_coil_is_as_uneven_in_a_slice_as_in_a_volume(rng):
    slices = log_bias((800, 30, 26), rng, np.full(800, 0.3)).numpy()[:, 0]
    planes = np.stack([np.log(bias_field((30, 26), rng, 0.3)) for _ in range(800)])
    planes -= planes.mean((1, 2), keepdims=True)
    slices -= slices.mean((1, 2), keepdims=True)
    assert planes.std() == pytest.approx(slices.std(), rel=0.05)
    for step in (3, 6, 12):
        alike = [(x[:, step:] * x[:, :-step]).mean() / x.var() for x in (planes, slices)]
        assert alike[0] == pytest.approx(alike[1], abs=0.05)


@pytest.mark.parametrize('axis', [2, 3])
def test_a_scan_of_larger_voxels_tapers_waves_by_hand(axis):
    """A wave of 4 mm at voxels of 0.5 mm is at a quarter of what they hold: e^(−0.9 / 16)."""
    shape = [1, 1, 80, 80]
    along = torch.arange(80.0) * 0.2
    wave = 1 + 0.5 * torch.cos(2 * torch.pi * along / 4)
    image = (wave[:, None] if axis == 2 else wave[None]).expand(shape)
    found = cut_off(image, 0.2, 0.5)
    torch.testing.assert_close(found, 1 + (image - 1) * np.exp(-0.9 / 16), atol=1e-4, rtol=0)


def test_a_field_of_view_is_cut_at_every_side_in_four_of_ten_slices():
    shown = field_of_view((400, 36, 30), np.random.default_rng(0))[:, 0]
    cut = {
        'first row': ~shown[:, 0].any(dim=1),
        'last row': ~shown[:, -1].any(dim=1),
        'first column': ~shown[:, :, 0].any(dim=1),
        'last column': ~shown[:, :, -1].any(dim=1),
    }
    # Of six margins, 0 to 5 pixels, one is none
    for side, found in cut.items():
        assert 0.25 < found.float().mean() < 0.42, side
    assert (~shown.flatten(1).all(dim=1)).float().mean() == pytest.approx(0.4, abs=0.07)


def test_noise_is_a_share_of_what_is_brightest_in_its_slice(steady, monkeypatch):
    """From 0.4 % to 13 %, of no more than 2; one slice in ten has none."""
    asked = []
    monkeypatch.setattr(
        scanner, 'add_rician_noise', lambda image, level, _: asked.append((image, level)) or image
    )
    image = torch.ones(3, 1, 24, 24) * torch.tensor([0.5, 1.0, 9.0])[:, None, None, None]
    for share in (0.5, 0.95):
        simulate_scanner(image, steady(share), 0.5)
    (seen, level), (_, none) = asked
    brightest = seen.amax(dim=(1, 2, 3)).clamp(max=2)
    np.testing.assert_allclose(level.flatten(), brightest * np.sqrt(0.004 * 0.13), rtol=1e-5)
    assert brightest[0] < 0.9 * brightest[1]
    assert not none.any()
