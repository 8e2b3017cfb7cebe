"""What a stage runs its network with: the file as it is, and the options that it has."""

import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from nipype.interfaces.base import traits

from secondglance.interfaces.network import (
    EnhanceSpec,
    NetworkSpec,
    SaliencySpec,
    load_model,
    options_of,
)
from secondglance.models.choices import AS_PUBLISHED, SaliencyOptions
from secondglance.models.weights import default_refinement, default_weights


@pytest.fixture
def node(tmp_path):
    weights = tmp_path / 'w.safetensors'
    shutil.copy(default_weights(), weights)
    return SimpleNamespace(weights=str(weights), device='cpu', num_threads=1)


def test_a_file_is_read_once_and_again_when_it_changes(node):
    first = load_model(node)
    assert load_model(node) is first
    os.utime(node.weights, ns=(1, 1))
    again = load_model(node)
    assert again is not first
    assert again.checksum == first.checksum


def test_threads_are_those_of_the_stage(node):
    before = torch.get_num_threads()
    try:
        node.num_threads = 3
        load_model(node)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_weights_of_another_kind_are_refused(node):
    shutil.copy(default_refinement(), node.weights)
    with pytest.raises(ValueError, match=r'w\.safetensors'):
        load_model(node)


def test_options_are_those_that_the_stage_has():
    saliency = SaliencySpec(method='gradient', target='GM', smooth=4)
    assert options_of(saliency) == SaliencyOptions('gradient', 'GM', 4)
    enhance = EnhanceSpec(peak=1.0, width=0.3)
    assert options_of(enhance) == SaliencyOptions(peak=1.0, width=0.3)
    assert options_of(EnhanceSpec()) == AS_PUBLISHED


def test_what_no_network_can_be_run_with_is_refused():
    for spec, wrong in (
        (NetworkSpec, {'num_threads': 0}),
        (SaliencySpec, {'smooth': -1}),
        (SaliencySpec, {'target': 'bone'}),
        (EnhanceSpec, {'width': 0.0}),
    ):
        with pytest.raises(traits.TraitError):
            spec(**wrong)
