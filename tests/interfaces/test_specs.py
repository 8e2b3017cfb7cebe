"""What every interface asks of its inputs and outputs."""

import importlib
import inspect
import pkgutil

import pytest
from nipype.interfaces.base import BaseInterface

import secondglance.interfaces

OPTIONAL = {
    'Publish': {'report', 'report_figures', 'citation_md', 'citation_bib'},
    'DonorSaliency': {'cache_dir'},
    'Metrics': {'label_table', 'first_probabilities'},
    'SelectB0': {'bval_file', 'voxel_scale'},
    '_MotionCorrection': {'empty', 'engine', 'weights'},
    'SitkMotion': {'empty', 'engine', 'weights'},
    'NoMotion': {'empty', 'engine', 'weights'},
    'McflirtMotion': {'empty', 'engine', 'weights'},
    'Report': {
        *('notes', 'regions', 'regions_table', 'b0_series', 'b0_uncorrected', 'metrics'),
        *('slice_metrics', 'reference_stack', 'map_stacks', 'map_names'),
    },
    'Explain': {'region', 'voxel'},
    'CorrectSeries': {'bval_file', 'bvec_file'},
    'ToSlabs': {'mask_file'},
    'ToNative': {'threshold'},
    'LookAgain': {'first_probabilities_stack'},
}
"""Inputs that a node runs without, and that have no value where they are not given."""


def _interfaces():
    folder = secondglance.interfaces
    for module in pkgutil.walk_packages(folder.__path__, f'{folder.__name__}.'):
        for name, found in vars(importlib.import_module(module.name)).items():
            ours = inspect.isclass(found) and found.__module__ == module.name
            if ours and issubclass(found, BaseInterface) and found.input_spec is not None:
                yield pytest.param(found, id=name)


INTERFACES = list(_interfaces())


def traits_of(spec):
    """Traits by name; those of the things that a list holds too."""
    for name, trait in spec().traits(transient=None).items():
        if not name.startswith('trait_'):
            for one in (trait, *(trait.inner_traits or ())):
                yield name, trait, one.trait_type


@pytest.mark.parametrize('interface', INTERFACES)
def test_an_input_is_asked_for_or_has_a_default_or_is_known_to_be_optional(interface):
    traits = interface.input_spec().traits(transient=None)
    free = {
        name
        for name, trait in traits.items()
        if not (name.startswith('trait_') or trait.mandatory or trait.usedefault)
    }
    assert free == OPTIONAL.get(interface.__name__, set())
    assert not [name for name, trait in traits.items() if trait.mandatory and trait.usedefault]


@pytest.mark.parametrize('interface', INTERFACES)
def test_a_file_that_is_not_there_is_refused_before_and_noticed_after(interface):
    for spec in (interface.input_spec, interface.output_spec):
        kinds = [(name, kind) for name, _, kind in traits_of(spec)]
        loose = {
            name
            for name, kind in kinds
            if type(kind).__name__ in ('File', 'Directory') and not kind.exists
        }
        # Folders of results are made where they are not there
        assert loose <= {'cache_dir', 'output_dir'}


@pytest.mark.parametrize('interface', INTERFACES)
def test_every_input_and_output_says_what_it_is(interface):
    for spec in (interface.input_spec, interface.output_spec):
        assert all(trait.desc for _, trait, _ in traits_of(spec))


@pytest.mark.parametrize('interface', INTERFACES)
def test_what_cannot_change_a_result_does_not_count_for_the_cache(interface):
    """Threads, devices and folders of caches; all else counts."""
    hashed = {
        name: not trait.nohash
        for name, trait in interface.input_spec().traits(transient=None).items()
        if not name.startswith('trait_')
    }
    free = {'num_threads', 'device', 'use_gpu', 'cache_dir'}
    assert {name for name, counts in hashed.items() if not counts} == free & set(hashed)
