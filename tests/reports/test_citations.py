"""References of the methods paragraph."""

import re
from itertools import product

import pytest

from secondglance.imaging.mask.methods import METHODS
from secondglance.models.saliency.methods import saliency_methods
from secondglance.reports.citations import PUBLICATIONS, bibtex, citation_text, cited
from secondglance.reports.methods_text import ENGINE_CITATIONS, TISSUE_SENTENCES, methods_text


def _text(engine='SimpleITK', **changes):
    settings = {
        'saliency': 'guided',
        'mask_taken': 'network',
        'second_glance': 'network',
        'regions': True,
        **changes,
    }
    return methods_text('0.1.0', {'engine': engine, 'n_b0': 4}, settings)


@pytest.mark.parametrize(
    ('engine', 'saliency', 'mask', 'second'),
    list(product(ENGINE_CITATIONS, saliency_methods(), METHODS, TISSUE_SENTENCES)),
)
def test_whatever_ran_has_its_references(engine, saliency, mask, second):
    text = _text(engine, saliency=saliency, mask_taken=mask, second_glance=second, smooth=8)
    found = cited(text)
    # None is named in a way that is not recognised
    assert len(found) == text.count('doi 10.') + text.count('arXiv:')
    assert set(found) <= set(PUBLICATIONS)


def test_no_publication_is_known_in_vain():
    texts = [
        _text(engine, saliency=saliency, smooth=8)
        for engine, saliency in product(ENGINE_CITATIONS, saliency_methods())
    ]
    assert set(PUBLICATIONS) == {name for text in texts for name in cited(text)}


def test_entries_are_bibtex():
    entries = bibtex(_text(), '0.1.0').split('\n\n')
    assert len(entries) == 1 + len(cited(_text()))
    keys = [
        re.match(r'@(?:article|inproceedings|misc)\{([\w-]+),\n', entry)[1] for entry in entries
    ]
    assert keys[:2] == ['secondglance', 'matos2019']
    assert len(set(keys)) == len(keys)
    for entry in entries:
        assert entry.count('{') == entry.count('}')
        fields = dict(re.findall(r'^  (\w+) = \{(.+)\},$', entry, re.M))
        assert {'author', 'title'} <= set(fields)
        assert '' not in fields.values()
        assert fields.keys() & {'version', 'doi', 'eprint'}


def test_what_ran_alone_is_cited():
    without = bibtex(_text(regions=False, saliency='gradient'), '0.1.0')
    assert 'gopinath' not in without
    assert 'simonyan2013' in without
    assert 'springenberg' not in without
    assert 'Gopinath et al.: Registration by Regression' in citation_text(_text())


def test_the_weight_of_the_first_glance_is_told_where_it_counts():
    said = 'The first segmentation counted as well, with a weight of up to 0.2, as far as both'
    assert f'{said} agreed.' in _text()
    for second in ('masked', 'none'):
        assert 'weight of up to' not in _text(second_glance=second)


def test_a_method_of_ones_own_keeps_its_identifier():
    entry = bibtex('By mine (2026, doi 10.1000/abc.7).', '1').split('\n\n')[1]
    assert entry.strip() == '@misc{10-1000-abc-7,\n  doi = {10.1000/abc.7},\n}'


def test_what_is_unknown_hides_no_reference():
    listed = citation_text('Mine (2026, doi 10.1000/abc.7), theirs (2014, arXiv:1311.2901).')
    first, second = listed.partition('# References')[2].split('\n')[2:-1]
    assert first == '- doi 10.1000/abc.7'
    assert second.startswith('- Zeiler, Fergus: ')
    assert second.endswith(', arXiv:1311.2901')
