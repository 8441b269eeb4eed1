"""A chain as bytes (safetensors), and whatever names a chain read as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from setclip.modalities import BadItemError
from setclip.proteins.chains import Chain, flaw
from setclip.proteins.structures import is_structure, read_structure


def pack_chain(chain: Chain) -> bytes:
    """The chain without its repairs, for a table's cell or a message between processes."""
    arrays = {
        "name": np.frombuffer(chain.name.encode(), dtype=np.uint8),
        "sequence": np.frombuffer(chain.sequence.encode(), dtype=np.uint8),
        "ca": chain.ca,
        "index": chain.index,
    }
    if chain.backbone is not None:
        arrays["backbone"] = chain.backbone
    packed: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return packed


def unpack_chain(packed: bytes) -> Chain:
    """Undo :func:`pack_chain`.

    Raises:
        BadItemError: These bytes are no chain.
    """
    name = f"chain of {len(packed):,} bytes"
    try:
        arrays = load(packed)
        sequence = arrays["sequence"].tobytes().decode("ascii")
        ca, index, backbone = arrays["ca"], arrays["index"], arrays.get("backbone")
        chain = Chain(arrays["name"].tobytes().decode(), sequence, ca, index, backbone)
    except (SafetensorError, KeyError, UnicodeDecodeError) as error:
        raise BadItemError(name, f"not what pack_chain makes ({error})") from error
    n = len(sequence)
    if not n or ca.shape != (n, 3) or index.shape != (n,):
        raise BadItemError(name, f"{n} letters, positions {list(ca.shape)}")
    if reason := flaw(ca):
        raise BadItemError(name, reason)
    return chain


def read_chain(item: object) -> Chain:
    """One chain from what an item of a manifest may be.

    Args:
        item: Bytes of :func:`pack_chain`; or the path of a structure file, of which the first chain
            counts, or with # and a letter behind it that chain ("1abc.cif#B").

    Raises:
        BadItemError: There is no such chain.
        ImportError: biotite is not installed, and a file is to be read.
    """
    if isinstance(item, bytes):
        return unpack_chain(item)
    if not isinstance(item, str | Path):
        kind = type(item).__name__
        raise BadItemError(repr(item)[:80], f"{kind} where a structure's path was expected")
    path, _, letter = str(item).rpartition("#")
    if not path or not is_structure(path):  # folders may have a # in their names
        path, letter = str(item), ""
    chains = read_structure(path, wanted=letter).chains
    if not letter:
        return chains[0]
    found = next((chain for chain in chains if chain.name.endswith(f"_{letter}")), None)
    if found is None:
        names = ", ".join(chain.name for chain in chains)
        raise BadItemError(str(item), f"no chain {letter}; the file has {names}")
    return found
