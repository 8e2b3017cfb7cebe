"""Whether the image holds what the lock says, and the hashes of what it is made of.

``requirements.py --check constraints.txt`` fails if anything installed differs from the lock.
``requirements.py --hashes FOLDER`` prints the requirements of the image with the SHA-256 of each
wheel in a folder, which ``pip download -c constraints.txt -d FOLDER .`` fills; torch is left out,
for its wheel depends on the index it is taken from.
"""

import hashlib
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

_CUDA = ('nvidia-', 'cuda-', 'triton')


def _plain(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def hashes(folder: str) -> list[str]:
    """List name, version and SHA-256 of each wheel."""
    lines = []
    for wheel in Path(folder).glob('*.whl'):
        name, version = wheel.name.split('-')[:2]
        if _plain(name) not in ('torch', 'secondglance'):
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            lines.append(f'{_plain(name)}=={version} --hash=sha256:{digest}')
    return sorted(lines)


def differences(lock: str) -> list[str]:
    """Say what is installed in another version than the lock's; a local build (+cpu) is none.

    What is installed and not in the lock counts too: nothing in the image is unpinned.
    """
    with open(lock) as stream:
        lines = [line.split('#')[0].strip() for line in stream]
    pinned = {_plain(name): version for name, _, version in (x.partition('==') for x in lines)}
    wrong = []
    for distribution in distributions():
        name, version = _plain(distribution.metadata['Name']), distribution.version
        # A GPU's libraries are pinned by the build of torch that brings them
        if name in ('secondglance', 'pip', 'setuptools') or name.startswith(_CUDA):
            continue
        if name not in pinned:
            wrong.append(f'{name}=={version} is not in the lock')
        elif version.partition('+')[0] != pinned[name]:
            wrong.append(f'{name} is {version}, the lock says {pinned[name]}')
    return sorted(wrong)


if __name__ == '__main__':
    if sys.argv[1] == '--check':
        if found := differences(sys.argv[2]):
            sys.exit('\n'.join(['The image is not what constraints.txt says:', *found]))
    else:
        print('\n'.join(hashes(sys.argv[2])))
