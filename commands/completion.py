"""``secondglance completion``: how a shell completes the words of a call."""

import argparse
import os
from collections.abc import Callable
from types import ModuleType

from secondglance.files.extras import install_extra
from secondglance.imaging.errors import InputError

SHELLS = {
    'bash': 'eval "$(secondglance completion bash)" in ~/.bashrc',
    'zsh': 'eval "$(secondglance completion zsh)" in ~/.zshrc, below compinit',
    'fish': 'secondglance completion fish | source in ~/.config/fish/config.fish',
}
"""Shells, and the line that each reads at its start."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of the command."""
    parser.description = (
        'Print what a shell runs to complete commands, options and their values with the Tab key. '
        f'Put a line into its start-up file. {"; ".join(SHELLS.values())}. Needs an extra: '
        f'{install_extra("completion")}.'
    )
    parser.add_argument('shell', choices=SHELLS)


def main(args: argparse.Namespace) -> int:
    """Print the script; 0 when done."""
    print(_argcomplete().shellcode(['secondglance'], shell=args.shell))
    return 0


def complete(
    parser_of: Callable[[str], argparse.ArgumentParser], commands: tuple[str, ...]
) -> None:
    """Answer a shell that asks for completions, and exit; where none asks, return at once.

    Parameters
    ----------
    parser_of : callable
        From the name of a command to its parser.
    commands : tuple of str
        What the first word may be, beside a file.
    """
    if '_ARGCOMPLETE' not in os.environ:
        return
    from unittest import mock

    argcomplete = _argcomplete()
    point = int(os.environ['COMP_POINT'])
    words = os.environ['COMP_LINE'].encode()[:point].decode(errors='ignore').split(' ')[1:]
    command = words[0] if len(words) > 1 and words[0] in commands else 'run'
    parser = parser_of(command)
    if len(words) < 2:
        _also(parser, (*commands, 'example'), argcomplete)
    # The words of the command begin behind its name
    begin = '2' if words[:1] == [command] else os.environ['_ARGCOMPLETE']
    with mock.patch.dict(os.environ, _ARGCOMPLETE=begin):
        argcomplete.autocomplete(parser, always_complete_options=False)


def _also(
    parser: argparse.ArgumentParser, commands: tuple[str, ...], argcomplete: ModuleType
) -> None:
    """Let the words that are no option be commands, or files."""
    files = argcomplete.FilesCompleter()
    (inputs,) = parser._get_positional_actions()
    inputs.completer = lambda prefix, **_: [  # type: ignore[attr-defined]
        *commands,
        *files(prefix),
    ]


def _argcomplete() -> ModuleType:
    try:
        import argcomplete
    except ImportError as error:
        raise InputError(
            f'Completion needs argcomplete, which is not installed: {install_extra("completion")}.'
        ) from error
    return argcomplete
