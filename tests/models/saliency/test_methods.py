"""A saliency method is one file."""

from secondglance.models.choices import SALIENCY_METHODS
from secondglance.models.saliency.methods import list_methods, saliency_methods


def test_a_file_is_a_method_that_is_listed_without_being_imported(tmp_path):
    (tmp_path / 'mine.py').write_text(
        "SCALE = 2 * len('abc')\n"
        "NAME = 'mine'\nCITATION = 'my method (2026)'\nraise RuntimeError('imported')\n"
    )
    (method,) = list_methods(tmp_path).values()
    assert (method.name, method.citation, method.module) == ('mine', 'my method (2026)', 'mine')


def test_the_paper_s_method_is_first_and_all_can_be_loaded():
    assert SALIENCY_METHODS[0] == 'guided'
    assert set(SALIENCY_METHODS) == {
        'guided',
        'deconvnet',
        'gradient',
        'input-x-gradient',
        'integrated-gradients',
    }
    for method in saliency_methods().values():
        assert method.name == method.load().NAME
