"""What the words of a call mean: files, a BIDS App's call, options with underscores."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from secondglance.imaging.errors import InputError

LEVELS = ('participant', 'group')
"""Levels of analysis of a BIDS App."""


def counted(number: int, noun: str) -> str:
    """Write a number and what it counts.

    Parameters
    ----------
    number : int
    noun : str
        Of one, in English a plural on -s.

    Returns
    -------
    str

    Examples
    --------
    >>> counted(1, 'animal'), counted(3, 'scan')
    ('1 animal', '3 scans')
    """
    return f'{number} {noun}{"" if number == 1 else "s"}'


class Parser(argparse.ArgumentParser):
    """A parser with one sentence for every error, which takes underscores for hyphens.

    What begins with a hyphen and is a file is that file.
    """

    def error(self, message: str) -> NoReturn:
        """Print one sentence and exit with code 2."""
        self.exit(2, f'secondglance: {message}: see {self.prog} --help.\n')

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, an option's underscores being hyphens, as BIDS Apps write them."""
        words = [self.hyphened(word) for word in args] if args is not None else None
        for word in words or ():
            if not word or (word[:2] == '--' and word[-1] == '='):
                self.error(
                    f'an argument{f" ({word})" if word else ""} is empty: is a variable unset?'
                )
        return super().parse_known_args(words, namespace)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # Before Python 3.13 an option that is given -- gets nothing at all
        if action.option_strings and list(arg_strings) == ['--']:
            raise argparse.ArgumentError(action, '-- is no value')
        return super()._get_values(action, arg_strings)

    def hyphened(self, word: str) -> str:
        """Write an option's underscores as hyphens, if that makes it an option."""
        if word[:1] == '-' and word not in self._option_string_actions and Path(word).is_file():
            # A file with such a name is no option
            return f'./{word}'
        name, equals, value = word.partition('=')
        other = name.replace('_', '-')
        known = self._option_string_actions
        return f'{other}{equals}{value}' if name not in known and other in known else word


def parse_run(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse a call of ``run``: images, subjects of a data set, or a BIDS App's call.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        With a positional ``inputs`` of any number, and ``--bids-dir``, ``--output-dir``,
        ``--subject``, ``--image``.
    words : sequence of str

    Returns
    -------
    argparse.Namespace
        With ``group`` true where the level of that name was asked for; else either ``image`` or
        ``subject`` is set. ``example`` is the folder of the example where that was asked for.

    Raises
    ------
    InputError
        If the words contradict each other.
    """
    # Options may stand before, between and behind
    args = parser.parse_intermixed_args(list(words))
    inputs, args.group = list(args.inputs), False
    if args.subject and len(args.subject) > 3 and args.subject[-1] in LEVELS:
        # They stood before, and took the folders for labels
        inputs, args.subject = [*args.subject[-3:], *inputs], args.subject[:-3]
    args.example = None
    if inputs and inputs[0] == 'example':
        _take_example(args, inputs[1:])
    elif len(inputs) == 3 and (inputs[2] in LEVELS or Path(inputs[0]).is_dir()):
        _take_app(args, *inputs)
    elif inputs and inputs[-1] in LEVELS:
        raise InputError(
            f'Level {inputs[-1]} needs two folders before it: BIDS_DIR OUT_DIR {inputs[-1]}.'
        )
    elif inputs and Path(inputs[0]).is_dir():
        raise InputError(
            f'{inputs[0]} is a folder: give --bids-dir {inputs[0]} with --subject, or call '
            f'{inputs[0]} OUT participant.'
        )
    elif inputs:
        _refuse_folder(inputs[1:])
        args.image = [*(args.image or ()), *map(Path, inputs)]
    if args.group:
        return args
    if args.image and args.subject:
        raise InputError('An image and --subject are two calls: give one of them.')
    if not args.image and not args.subject:
        raise InputError('What is to be segmented: give an image, or --subject LABEL or all?')
    return args


def _refuse_folder(words: Sequence[str]) -> None:
    """Refuse a folder of results that is named as if it were an image."""
    for word in map(Path, words):
        if word.is_dir() or not (word.suffix or word.exists()):
            raise InputError(
                f'{word} is no image: if results are to go there, write -o {word}; of a data set, '
                'name --bids-dir and --subject.'
            )


def _take_app(args: argparse.Namespace, bids_dir: str, output_dir: str, level: str) -> None:
    """Take ``bids_dir output_dir level``, as every BIDS App is called."""
    if level not in LEVELS:
        raise InputError(f'Level {level} is neither participant nor group: give one of them.')
    if args.image:
        raise InputError('--image is of no data set: leave it out, or the folders.')
    args.bids_dir, args.output_dir = Path(bids_dir), Path(output_dir)
    args.group = level == 'group'
    args.subject = args.subject or ['all']


def _take_example(args: argparse.Namespace, others: Sequence[str]) -> None:
    """Take ``example [FOLDER]``."""
    if len(others) > 1 or args.image or any(Path(word).is_file() for word in others):
        raise InputError(
            'example is a call of its own: give it nothing, or the folder to write the example to.'
        )
    args.example = Path(others[0] if others else 'example')
    args.subject = args.subject or ['sub-01']
