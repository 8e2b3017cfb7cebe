"""What a node computes with where nothing is said, and what it refuses to be given."""

import pytest
from nipype.interfaces.base import isdefined, traits

from secondglance.interfaces.brain import Refine, SelectMask
from secondglance.interfaces.derivatives import Publish
from secondglance.interfaces.donors import DonorSaliency
from secondglance.interfaces.metrics import Metrics
from secondglance.interfaces.placement import Place
from secondglance.interfaces.pose import EstimatePose
from secondglance.interfaces.preprocessing import (
    Displacement,
    McflirtMotion,
    MeanVolume,
    NoMotion,
    SelectB0,
    SitkMotion,
)
from secondglance.interfaces.report import Report
from secondglance.interfaces.saliency import Enhance, Explain, Saliency
from secondglance.interfaces.series import BrainImage, CorrectSeries
from secondglance.interfaces.stacks import ToNative, ToSlabs
from secondglance.interfaces.tissues import Labels, LookAgain, Predict

NETWORK = {'device': 'auto', 'use_gpu': False, 'num_threads': 1}
PAPER = {'method': 'guided', 'target': 'brain', 'smooth': 0}
ENHANCED = {'peak': 2.0, 'width': 0.5}
MOTION = {'notes': [], 'species': 'auto', 'turn': 'auto', 'slice_axis': 'auto'}
MOTION |= {'device': 'auto', 'num_threads': 1}

DEFAULTS = {
    Refine: NETWORK,
    SelectMask: {'method': 'auto'},
    DonorSaliency: NETWORK | PAPER | ENHANCED,
    Metrics: {},
    Place: {'similarity': False, 'num_threads': 1},
    EstimatePose: NETWORK
    | {'slice_axis': 'auto', 'species': 'auto', 'turn': 'auto', 'estimated': {}},
    Displacement: {},
    McflirtMotion: MOTION | {'engine': 'FSL MCFLIRT'},
    SitkMotion: MOTION | {'engine': 'SimpleITK'},
    NoMotion: MOTION | {'engine': 'none'},
    MeanVolume: {},
    SelectB0: {'threshold': 50.0, 'all_b0': False},
    Report: {'suffix': 'dwi', 'known': []},
    Enhance: ENHANCED,
    Explain: NETWORK | PAPER,
    Saliency: NETWORK | PAPER,
    BrainImage: {},
    CorrectSeries: {'threshold': 50.0, 'estimate': True, 'num_threads': 1},
    ToNative: {},
    ToSlabs: {'order': 1, 'n_slabs': 1, 'slices_per_job': 0},
    Labels: {},
    LookAgain: NETWORK | {'atlases': {}},
    Predict: NETWORK,
}


@pytest.mark.parametrize('interface', DEFAULTS, ids=lambda one: one.__name__)
def test_what_is_not_given_has_the_published_value_or_none(interface):
    given = interface().inputs.get()
    assert {name: value for name, value in given.items() if isdefined(value)} == DEFAULTS[
        interface
    ]


def test_what_is_published_has_no_side_cars_texts_and_links_unless_they_are_given():
    inputs = Publish({'mask': 'mask.nii.gz', 'dseg': 'dseg.tsv'}).inputs
    found = {name: value for name, value in inputs.get().items() if isdefined(value)}
    assert found == {'sidecars': {}, 'texts': {}, 'dataset_links': {}}
    assert {'mask', 'dseg'} < set(inputs.copyable_trait_names())


THREADS = [('num_threads', value, value > 0) for value in (0, 1, 64)]
SMOOTH = [('smooth', value, value >= 0) for value in (-1, 0, 50)]
WIDTH = [('width', value, value > 0) for value in (-0.1, 0.0, 1e-6, 3.0)]
AXIS = [('slice_axis', value, value in 'ijk') for value in ('i', 'j', 'k', 'x')]
TURN = [('turn', value, value != '45') for value in ('0', '90', '180', '270', 'auto', '45')]
SPECIES = [('species', value, value != 'cat') for value in ('rat', 'mouse', 'auto', 'cat')]

ALLOWED = {
    Predict: THREADS,
    Saliency: THREADS + SMOOTH,
    Enhance: WIDTH,
    DonorSaliency: SMOOTH + WIDTH,
    Place: THREADS,
    CorrectSeries: THREADS,
    SitkMotion: THREADS + AXIS + TURN + SPECIES,
    EstimatePose: AXIS + TURN + SPECIES,
    ToSlabs: [
        *(('order', value, value in (0, 1)) for value in (-1, 0, 1, 2)),
        *(('n_slabs', value, value > 0) for value in (0, 1, 9)),
        *(('slices_per_job', value, value >= 0) for value in (-1, 0, 9)),
    ],
    Explain: [('voxel', list(range(n)), n == 3) for n in (2, 3, 4)],
}


@pytest.mark.parametrize('interface', ALLOWED, ids=lambda one: one.__name__)
def test_values_are_taken_up_to_their_limits_and_refused_beyond(interface):
    for name, value, allowed in ALLOWED[interface]:
        if allowed:
            assert getattr(interface(**{name: value}).inputs, name) == value
        else:
            with pytest.raises(traits.TraitError):
                interface(**{name: value})


def test_a_region_and_a_voxel_are_not_explained_at_once(tmp_path):
    path = tmp_path / 'a.nii'
    path.touch()
    for one in ({'region': str(path)}, {'voxel': [1, 2, 3]}):
        node = Explain(in_file=str(path), weights=str(path), pose={}, **one)
        other = {'region': str(path)} if 'voxel' in one else {'voxel': [1, 2, 3]}
        with pytest.raises(OSError, match='mutually exclusive'):
            node.inputs.trait_set(**other)
