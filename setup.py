"""The README as a package index shows it, without the repository; all else is in setup.cfg."""

import os
import re
from pathlib import Path

from setuptools import setup

LINK = re.compile(r'(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)\s]+)\)')


def for_an_index(readme: str, repository: str = '', revision: str = 'HEAD') -> str:
    """Point the links to files at the repository; where it is not known, keep their words alone.

    Parameters
    ----------
    readme : str
        Markdown with links relative to the repository's root.
    repository : str
        Address of the repository, such as a forge gives it; empty: not known.
    revision : str
        Branch or tag.

    Returns
    -------
    str
    """

    def replaced(link: re.Match) -> str:
        picture, words, path = link.groups()
        if not repository:
            return '' if picture else words
        kind = 'raw' if picture else 'blob'
        return f'{picture}[{words}]({repository}/{kind}/{revision}/{path})'

    return LINK.sub(replaced, readme)


if __name__ == '__main__':
    repository = os.environ.get('REPOSITORY_URL', '').rstrip('/')
    addresses = {'Method': 'https://doi.org/10.1007/978-3-030-19823-7_25'}
    if repository:
        addresses |= {'Source': repository, 'Issues': f'{repository}/issues'}
    setup(
        # Named, it is not taken for a module of the package, which lies in the same folder
        script_name=__file__,
        long_description=for_an_index(
            Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
            repository,
            os.environ.get('REPOSITORY_REVISION', 'HEAD'),
        ),
        long_description_content_type='text/markdown',
        project_urls=addresses,
    )
