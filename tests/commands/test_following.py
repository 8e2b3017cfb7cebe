"""Progress in plain lines where the output is redirected, and a bar in a terminal."""

import os
import pty
import subprocess
import sys

CODE = (
    'from secondglance.commands.following import follow\n'
    'for rat in follow(["a", "b"], "scan", named=str.upper): print("found", rat)'
)


def test_redirected_it_is_plain_lines_on_standard_error(capfd):
    subprocess.run([sys.executable, '-c', CODE], check=True)
    said = capfd.readouterr()
    assert said.out == 'found a\nfound b\n'
    assert said.err.splitlines()[0] == 'scan 1 of 2: A'


def test_in_a_terminal_it_is_a_bar_and_results_stay_where_they_belong(tmp_path):
    ours, theirs = pty.openpty()
    with open(tmp_path / 'results', 'w') as results:
        subprocess.run(
            [sys.executable, '-c', CODE],
            check=True,
            stdout=results,
            stderr=theirs,
            env={**os.environ, 'TERM': 'xterm'},
        )
    os.close(theirs)
    drawn = b''
    try:
        while piece := os.read(ours, 4096):
            drawn += piece
    except OSError:  # the end of a terminal, on Linux
        pass
    os.close(ours)
    assert (tmp_path / 'results').read_text() == 'found a\nfound b\n'
    assert b'scan B' in drawn
    assert b'2/2' in drawn
