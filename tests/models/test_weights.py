"""Weights files: what is saved comes back, and nothing else is accepted."""

import json
import pickle
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from secondglance.data import example_rat
from secondglance.files.digests import digest_of_voxels
from secondglance.files.nifti import read_volume
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import CLASSES
from secondglance.models import weights
from secondglance.models.unet import UNet
from secondglance.models.weights import (
    FORMAT,
    REFINEMENT,
    SECOND_GLANCE,
    default_weights,
    load_weights,
    read_calibration,
    read_header,
    save_weights,
    trained_on,
    weights_spacing,
)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    net = UNet((2, 4))
    path = tmp_path / 'a folder' / 'net.safetensors'
    save_weights(net, path, {'spacing': '0.25', 'recipe': 'none'})
    return net, path


def rewrite(path, *, header=None, tensors=None):
    """Write the file again with a part of it changed, header and tensors by themselves valid."""
    metadata = {**read_header(path), **(header or {})}
    save_file({**load_file(path), **(tensors or {})}, path, metadata)


def test_save_and_load_round_trip(saved):
    net, path = saved
    model = load_weights(path)
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(model.net(image), net.eval()(image))
    assert (model.spacing, model.classes, model.stride) == (0.25, CLASSES, 2)
    assert model.metadata['recipe'] == 'none'
    assert not model.net.training
    assert not any(p.requires_grad for p in model.net.parameters())


def test_saving_twice_gives_the_same_checksum_and_other_values_another(saved, tmp_path):
    net, path = saved
    first = load_weights(path).checksum
    assert save_weights(net, tmp_path / 'again.safetensors') == first
    with torch.no_grad():
        net.head.bias[0] += 1e-6
    assert save_weights(net, tmp_path / 'other.safetensors') != first


def test_channels_last_weights_load_as_they_were(tmp_path):
    net = UNet((2, 4)).to(memory_format=torch.channels_last)
    save_weights(net, tmp_path / 'n.safetensors')
    loaded = load_weights(tmp_path / 'n.safetensors').net
    for before, after in zip(net.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(before, after)


def test_spacing_is_read_without_torch(saved):
    code = (
        'import sys; from secondglance.models.weights import weights_spacing; '
        'print(weights_spacing(sys.argv[1]), "torch" in sys.modules)'
    )
    ran = subprocess.run(
        [sys.executable, '-c', code, saved[1]], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ['0.25', 'False']


def test_changed_tensor_is_refused(saved):
    _, path = saved
    rewrite(path, tensors={'head.bias': load_file(path)['head.bias'] + 1})
    with pytest.raises(InputError, match='checksum'):
        load_weights(path)


def test_one_flipped_bit_is_refused(saved):
    _, path = saved
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match='checksum'):
        load_weights(path)


@pytest.mark.parametrize(
    ('architecture', 'message'),
    [
        ('{"name": "SwinUNETR", "channels": [2, 4]}', 'architecture'),
        ('{"name": "UNet", "channels": [2, 4], "in_channels": 3, "n_classes": 4}', 'architecture'),
        ('{"name": "UNet", "channels": [2, 4], "in_channels": 1, "n_classes": 2}', 'architecture'),
        ('{"name": "UNet", "channels": "x", "in_channels": 1, "n_classes": 4}', 'architecture'),
        ('["UNet"]', 'architecture'),
        ('not JSON', 'architecture'),
        ('{"name": "UNet", "channels": [3, 4], "in_channels": 1, "n_classes": 4}', 'do not fit'),
        ('{"name": "UNet", "channels": [2, 4, 8], "in_channels": 1, "n_classes": 4}', 'do not'),
    ],
)
def test_other_architecture_is_refused(saved, architecture, message):
    _, path = saved
    rewrite(path, header={'architecture': architecture})
    with pytest.raises(InputError, match=message):
        load_weights(path)


@pytest.mark.parametrize('ends', [(3, 4), (1, 2)])
def test_a_network_of_other_channels_or_classes_is_no_first_glance(tmp_path, ends):
    """Although its tensors fit what its header says."""
    save_weights(UNet((2, 4), *ends), tmp_path / 'w.safetensors')
    with pytest.raises(InputError, match='use a UNet of 1 channels with 4 classes'):
        load_weights(tmp_path / 'w.safetensors')


@pytest.mark.parametrize(
    'header', [{'classes': '["background", "GM", "WM", "CSF"]'}, {'normalisation': 'z-score'}]
)
def test_other_meaning_of_input_or_output_is_refused(saved, header):
    rewrite(saved[1], header=header)
    with pytest.raises(InputError, match='trained for'):
        load_weights(saved[1])


@pytest.mark.parametrize('spacing', ['0', '-1', 'nan', 'inf', 'wide'])
def test_senseless_spacing_is_refused(saved, spacing):
    rewrite(saved[1], header={'spacing': spacing})
    with pytest.raises(InputError, match='spacing'):
        weights_spacing(saved[1])


@pytest.mark.parametrize('kept', [0, 4, 8, 100, -1])
def test_truncated_file_is_refused(saved, kept):
    _, path = saved
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError):
        load_weights(path)


class Bomb:
    def __reduce__(self):
        return (print, ('a pickle was run',))


@pytest.mark.parametrize('suffix', ['.safetensors', '.pt', '.pkl'])
def test_pickle_is_refused_and_never_run(tmp_path, capsys, suffix):
    for content in (pickle.dumps(Bomb()), b''):
        path = tmp_path / f'w{suffix}'
        path.write_bytes(content)
        with pytest.raises(InputError):
            load_weights(path)
    torch.save(nn.Linear(1, 1), path)
    with pytest.raises(InputError):
        load_weights(path)
    assert 'pickle' not in capsys.readouterr().out


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_no_numbers_are_refused(saved, value):
    net, path = saved
    next(net.parameters()).data.flatten()[3] = value
    save_weights(net, path)
    with pytest.raises(InputError, match='NaN or infinite'):
        load_weights(path)


@pytest.mark.parametrize('channels', [[4096] * 12, [2] * 5000, [10**9, 10**9], [2, -4], 7])
def test_a_header_that_asks_for_another_network_takes_no_memory(saved, channels):
    rewrite(
        saved[1],
        header={
            'architecture': json.dumps(
                {'name': 'UNet', 'channels': channels, 'in_channels': 1, 'n_classes': 4}
            )
        },
    )
    with pytest.raises(InputError, match='architecture'):
        load_weights(saved[1])


def test_foreign_safetensors_are_refused(tmp_path):
    path = tmp_path / 'foreign.safetensors'
    save_file({'weight': torch.zeros(1)}, path)
    with pytest.raises(InputError, match='does not hold secondglance weights'):
        load_weights(path)


def test_header_that_claims_to_be_huge_is_not_read(tmp_path):
    path = tmp_path / 'huge.safetensors'
    path.write_bytes(struct.pack('<Q', 1 << 62) + json.dumps({}).encode())
    with pytest.raises(InputError):
        load_weights(path)


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path / 'none.safetensors', tmp_path):
        with pytest.raises(InputError, match=str(path)):
            load_weights(path)


def test_failed_save_leaves_nothing_behind(saved, monkeypatch):
    net, path = saved
    before = path.read_bytes()

    def fail(*_):
        raise OSError('No space left on device')

    monkeypatch.setattr(weights.Path, 'replace', fail)
    with pytest.raises(OSError, match='No space'):
        save_weights(net, path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_shipped_weights_load_are_small_and_are_what_their_cards_say():
    folder = default_weights().parent
    shipped = sorted(folder.glob('*.safetensors'))
    assert [path.stem for path in shipped] == [
        'default',
        'refinement',
        'second_glance',
        'simulated',
        'simulated_refinement',
    ]
    assert sum(path.stat().st_size for path in shipped) <= 25e6
    for path in shipped:
        form = REFINEMENT if path.stem.endswith('refinement') else FORMAT
        form = SECOND_GLANCE if path.stem == 'second_glance' else form
        model = load_weights(path, form=form)
        spacing = 0.2 if form == SECOND_GLANCE else 0.3
        assert model.spacing == weights_spacing(path, form) == spacing
        card = json.loads(path.with_suffix('.json').read_text())
        assert 'GPL-3.0' in model.metadata['derived_from'] or 'GPL-3.0' in card['data']
        assert card['checksum'] == read_header(path, form)['checksum']
        # The example is judged with, never trained on
        assert 'sub-07' not in card.get('scans', {}).get('animals', [])
        # A copy of another name is recognised
        scans = card['scans']
        assert len(set(scans.get('digests', []))) == len(scans['names'])
        assert digest_of_voxels(read_volume(example_rat()[0])[1]) not in trained_on(path)
    for path, first in ((shipped[1], shipped[0]), (shipped[4], shipped[3])):
        assert read_header(path, REFINEMENT)['first'] == read_header(first)['checksum']
        weights = read_calibration(path).weights
        assert sum(weight > 0 for weight in weights[:-1]) >= 3


def test_weights_of_two_spacings_are_told_apart_in_one_process(tmp_path):
    torch.manual_seed(0)
    net = UNet((2, 4))
    paths = {spacing: tmp_path / f'{spacing}.safetensors' for spacing in (0.2, 0.3, 0.45)}
    for spacing, path in paths.items():
        save_weights(net, path, {'spacing': str(spacing)})
    for _ in range(2):
        for spacing, path in paths.items():
            assert weights_spacing(path) == spacing
            assert load_weights(path).spacing == spacing
    # Also where other weights come to lie at the same place
    save_weights(net, paths[0.2], {'spacing': '0.25'})
    assert weights_spacing(paths[0.2]) == load_weights(paths[0.2]).spacing == 0.25


def test_what_weights_were_trained_on_is_all_that_came_before_too(tmp_path):
    card = {'scans': {'names': ['a', 'b'], 'animals': ['x']}, 'trained_before_on': ['c']}
    (tmp_path / 'w.json').write_text(json.dumps(card))
    assert trained_on(tmp_path / 'w.safetensors') == {'a', 'b', 'c'}
    (tmp_path / 'w.json').write_text('{"scans": {"names": ["a"]}}')
    assert trained_on(tmp_path / 'w.safetensors') == {'a'}
    assert trained_on(tmp_path / 'other.safetensors') == set()
