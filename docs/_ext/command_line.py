"""The directive ``command``: usage and options of a command, as its parser has them."""

import argparse
import importlib
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

import secondglance
from secondglance.commands.words import Parser
from secondglance.workflows import build_parser

ROOT = Path(secondglance.__file__).resolve().parent


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    if command == 'run':
        return build_parser()
    module = importlib.import_module(f'secondglance.commands.{command.replace("-", "_")}')
    parser = Parser(prog=f'secondglance {command}')
    module.add_arguments(parser)
    return parser


def _name(action: argparse.Action) -> str:
    """Give an option as it is typed: ``-o, --output-dir DIR``."""
    value = ''
    if action.nargs != 0:
        value = action.metavar or (action.dest.upper() if action.choices is None else '')
        if action.choices is not None and not action.metavar:
            value = '{' + ','.join(map(str, action.choices)) + '}'
        if action.nargs in ('+', '*'):
            value = f'{value} …'
    return f'{", ".join(action.option_strings)} {value}'.strip()


def _description(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = (action.help or '') % {**vars(action), 'prog': parser.prog}
    default = action.default
    plain = default not in (None, argparse.SUPPRESS, False, [], '')
    if plain and isinstance(default, str | int | float) and 'default' not in text:
        value = default if isinstance(default, str) else f'{default:g}'
        if f'({value})' not in text:
            text = f'{text} (default: {value})'.strip()
    return text


class Command(Directive):
    """Usage, and a list of options for each group."""

    required_arguments = 1

    def run(self):
        """Make the nodes."""
        parser = parser_of(self.arguments[0])
        usage = parser.format_usage().removeprefix('usage: ').strip().replace(' | ', '\n')
        block = nodes.literal_block(usage, usage)
        block['language'] = 'text'
        # Extras are named as of the installed package, not of the checkout that builds the site
        about = (parser.description or '').replace(f"-e '{ROOT}[", "'secondglance[")
        made = [block, nodes.paragraph(text=' '.join(about.split()))]
        for group in parser._action_groups:
            actions = [a for a in group._group_actions if a.help != argparse.SUPPRESS]
            if not actions:
                continue
            made.append(nodes.rubric(text=str(group.title)))
            entries = nodes.definition_list()
            for action in actions:
                name = _name(action)
                entries += nodes.definition_list_item(
                    '',
                    nodes.term('', '', nodes.literal(text=name)),
                    nodes.definition('', nodes.paragraph(text=_description(parser, action))),
                )
            made.append(entries)
        return made


def setup(app):
    """Register the directive."""
    app.add_directive('command', Command)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
