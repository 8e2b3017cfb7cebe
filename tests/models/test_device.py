"""The device of the networks, known without loading torch where torch has no choice."""

import subprocess
import sys

import pytest
import torch

from secondglance.imaging.errors import InputError
from secondglance.models import device
from secondglance.models.device import resolve_device


def test_the_build_of_torch_is_read_and_not_guessed():
    built = torch.version.cuda is None and torch.version.hip is None
    assert device.built_for_processors() is built


@pytest.mark.parametrize(
    ('cuda', 'hip', 'expected'),
    [(None, None, True), ('12.4', None, False), (None, '6.1', False)],
)
def test_one_kind_of_card_suffices_to_ask_torch(cuda, hip, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.__spec__, 'origin', str(tmp_path / '__init__.py'))
    # Without the file that tells, torch itself is asked
    assert not device.built_for_processors()
    text = f'cuda: Optional[str] = {cuda!r}\nhip: Optional[str] = {hip!r}\n'
    (tmp_path / 'version.py').write_text(text)
    assert device.built_for_processors() is expected


@pytest.mark.parametrize('name', ['auto', 'cpu'])
def test_a_processor_is_chosen_without_loading_torch(name):
    if name == 'auto' and not device.built_for_processors():
        pytest.skip('this torch must be asked for its cards')
    told = (
        'import sys; from secondglance.models.device import resolve_device; '
        f'print(resolve_device({name!r}), "torch" in sys.modules)'
    )
    found = subprocess.run(
        [sys.executable, '-c', told], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ['cpu', 'False']


def test_a_graphics_card_is_one_of_those_that_are_there(monkeypatch):
    monkeypatch.setattr(device, 'built_for_processors', lambda: False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert [resolve_device(name) for name in ('auto', 'cuda', 'cuda:1', 'cpu')] == [
        *('cuda', 'cuda', 'cuda:1', 'cpu')
    ]
    with pytest.raises(InputError, match='finds 2 GPUs, numbered from 0'):
        resolve_device('cuda:2')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert resolve_device('auto') == 'cpu'
    with pytest.raises(InputError, match='no GPU here'):
        resolve_device('cuda')


def test_an_unknown_device_is_refused():
    with pytest.raises(InputError, match='tpu'):
        resolve_device('tpu')
