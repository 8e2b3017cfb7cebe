import pytest

from secondglance.files import extras


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, '__file__', str(tmp_path / 'a folder/files/extras.py'))
    (tmp_path / 'a folder').mkdir()
    return tmp_path / 'a folder'


def test_a_checkout_installs_the_extra_of_itself(root):
    (root / 'setup.cfg').touch()
    assert extras.install_extra('train') == f"pip install -e '{root}[train]'"


def test_an_installed_package_installs_its_extra_by_name(root):
    assert extras.install_extra('train') == "pip install 'secondglance[train]'"
