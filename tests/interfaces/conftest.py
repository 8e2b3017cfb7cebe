"""What holds of every interface that a test runs."""

import pytest
from nipype.interfaces.base import SimpleInterface

WITHOUT = {
    'LookAgain': ('atlases', {'regions', 'regions_table', 'regions_volumes'}),
    'CorrectSeries': ('bval_file', {'bval_file', 'bvec_file'}),
}
"""Interface → outputs that it has only where an input is given."""


@pytest.fixture(autouse=True)
def outputs_are_filled(monkeypatch):
    """Whatever runs gives each of its outputs: a wire from one that is empty carries nothing."""
    listed = SimpleInterface._list_outputs

    def checked(self):
        found = listed(self)
        name = type(self).__name__
        given, optional = WITHOUT.get(name, ('', set()))
        empty = set(self.output_spec().copyable_trait_names()) - set(found)
        needed = empty - optional if not self.inputs.get_traitsfree().get(given) else empty
        assert not needed, f'{name} leaves {", ".join(sorted(needed))} empty'
        return found

    monkeypatch.setattr(SimpleInterface, '_list_outputs', checked)


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    """Run in a folder of the test's own: interfaces write where they run."""
    monkeypatch.chdir(tmp_path)
