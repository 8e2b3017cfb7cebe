"""Donors are looked at once for all subjects that share a cache."""

from pathlib import Path

import pytest

from secondglance.data import donor_paths
from secondglance.interfaces.bids import find_donor
from secondglance.interfaces.glance import DonorSaliency
from secondglance.models.weights import default_weights, weights_spacing


@pytest.fixture
def look(tmp_path, monkeypatch):
    image, mask = find_donor(donor_paths()[0])

    def _look(folder, **inputs):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        node = DonorSaliency(
            images=[str(image)],
            masks=[str(mask)],
            weights=str(default_weights()),
            spacing=weights_spacing(default_weights()),
            **inputs,
        )
        found = node.run(cwd=str(tmp_path / folder)).outputs
        return [Path(found.enhanced).read_bytes(), Path(found.masks).read_bytes()]

    return _look


def test_second_subject_finds_what_the_first_computed(look, tmp_path, monkeypatch):
    cache = {'cache_dir': str(tmp_path / 'shared' / 'donors')}
    first = look('a', **cache)
    assert first == look('alone')
    with monkeypatch.context() as patch:
        patch.setattr(DonorSaliency, '_compute', lambda *_: pytest.fail('computed again'))
        assert look('b', **cache) == first
    assert look('c', method='gradient', **cache) != first
    assert look('d', peak=1.0, **cache) != first
    left = [p.name for p in (tmp_path / 'shared' / 'donors').iterdir()]
    assert len(left) == 3
    assert not any(name.startswith('.') for name in left)
