"""Threads and processes beside the first."""

import importlib
import sys

import pytest

from secondglance.pipelines.execution.processes import import_aside


def test_modules_are_imported_aside_and_faults_are_told_to_whoever_needs_them(
    tmp_path, monkeypatch
):
    (tmp_path / 'broken_aside.py').write_text("raise ValueError('not today')\n")
    (tmp_path / 'whole_aside.py').write_text('import threading\nby = threading.get_ident()\n')
    monkeypatch.syspath_prepend(tmp_path)
    thread = import_aside(['broken_aside', 'whole_aside'])
    thread.join()
    assert sys.modules['whole_aside'].by == thread.ident
    with pytest.raises(ValueError, match='not today'):
        importlib.import_module('broken_aside')
