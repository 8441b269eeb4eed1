"""ESM-2 of any size, from a folder of transformers' files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from setclip.encoders.backbone import Backbone
from setclip.encoders.composition import prepare_sequence
from setclip.encoders.protocol import file_hash
from setclip.encoders.texts import mean_of_tokens, tokenized

MAX_TOKENS = 1024
PREPROCESSING = "meanpool-without-ends-v1"


def backbone(folder: str | Path, *, max_tokens: int = MAX_TOKENS) -> Backbone:
    """The network to train further: its embeddings and layers as blocks.

    The feature is the mean over the residues' last states, without the tokens at both ends.

    Args:
        folder: Holds config.json, model.safetensors and vocab.txt, as `save_pretrained` writes
            them. Nothing is downloaded.
        max_tokens: Longer sequences are cut, the tokens at both ends included.

    Raises:
        FileNotFoundError: The folder lacks one of the files.
        ImportError: transformers is not installed.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}: give a folder that holds an ESM-2 as save_pretrained "
                "writes it, tokenizer included."
            )
    try:
        from transformers import EsmModel, EsmTokenizer
    except ImportError as error:
        raise ImportError('ESM-2 needs transformers: pip install "setclip[bundled]"') from error
    tokenizer: Any = EsmTokenizer.from_pretrained(folder, local_files_only=True)
    model = EsmModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False)
    return Backbone(
        name="esm2",
        modality="sequence",
        dim=int(model.config.hidden_size),
        network=MeanOfResidues(model),
        prepare=prepare_sequence,
        collate=partial(tokenized, tokenizer, max_tokens=max_tokens),
        blocks=[model.embeddings, *model.encoder.layer],
        fingerprint=f"esm2:{file_hash(folder / 'model.safetensors')}:{PREPROCESSING}:{max_tokens}",
    )


class MeanOfResidues(nn.Module):
    """Mean over the residues' states of an ESM model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Shape [b, t] of token ids to [b, dim]."""
        mask = batch["attention_mask"]
        states = self.model(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        residues = mask.clone()
        residues[:, 0] = 0  # <cls>
        last = mask.sum(dim=1, keepdim=True) - 1
        residues.scatter_(1, last, 0)  # <eos>
        return mean_of_tokens(states, residues)
