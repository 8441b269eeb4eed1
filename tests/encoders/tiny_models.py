"""Small models of each library with random weights, saved as their users would have them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "apple", "green", "dog", "two"]
WORDS += ["cats", "fire", "much", "longer", "text", "about", "and"]


def tokenizer():
    """A fast tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(WORDS)}
    bare = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    bare.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    special = {f"{name}_token": word for name, word in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=bare, model_max_length=16, **special)


WIDTH = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


def bert(folder: Path) -> Path:
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **WIDTH))
    return _saved(model, folder, tokenizer())


def vit(folder: Path) -> Path:
    from transformers import ViTConfig, ViTModel

    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 32},
        "resample": 3,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
    }
    model = ViTModel(ViTConfig(image_size=32, patch_size=8, **WIDTH))
    return _saved(model, folder, processor=processor)


def swin(folder: Path) -> Path:
    """No class token."""
    from transformers import SwinConfig, SwinModel

    sizes = {"depths": [1, 1], "num_heads": [2, 2], "window_size": 2}
    model = SwinModel(SwinConfig(image_size=32, patch_size=4, embed_dim=16, **sizes))
    return _saved(model, folder)


def dinov2(folder: Path) -> Path:
    """Its network was built for larger pictures than its processor cuts."""
    from transformers import Dinov2Config, Dinov2Model

    processor = {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 40},
        "crop_size": {"height": 32, "width": 32},
    }
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = Dinov2Model(Dinov2Config(image_size=64, patch_size=8, **sizes))
    return _saved(model, folder, processor=processor)


def convnext(folder: Path) -> Path:
    """No class token, no size of its own, and a crop given as a share."""
    from transformers import ConvNextConfig, ConvNextModel

    processor = {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 64},
        "crop_pct": 0.875,
    }
    model = ConvNextModel(ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16]))
    return _saved(model, folder, processor=processor)


def esm(folder: Path) -> Path:
    from transformers import EsmConfig, EsmModel, EsmTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWC", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(letters))
    config = EsmConfig(
        vocab_size=len(letters),
        pad_token_id=1,
        mask_token_id=24,
        max_position_embeddings=40,
        position_embedding_type="rotary",
        token_dropout=True,
        **WIDTH,
    )
    return _saved(EsmModel(config), folder, EsmTokenizer(str(folder / "vocab.txt")))


def clip(folder: Path, kind: str = "clip") -> Path:
    import transformers

    config_of = {"clip": transformers.CLIPConfig, "siglip": transformers.SiglipConfig}[kind]
    model_of = {"clip": transformers.CLIPModel, "siglip": transformers.SiglipModel}[kind]
    text = {
        "vocab_size": len(WORDS),
        "max_position_embeddings": 16,
        "eos_token_id": 3,
        "pad_token_id": 0,
        "bos_token_id": 2,
    }
    vision = {"image_size": 32, "patch_size": 8}
    extra = {"projection_dim": 24} if kind == "clip" else {}
    config = config_of(text_config=text | WIDTH, vision_config=vision | WIDTH, **extra)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 40},
        "crop_size": {"height": 32, "width": 32},
        "resample": 3,
    }
    return _saved(model_of(config), folder, tokenizer(), processor)


def open_clip_folder(folder: Path) -> str:
    """A CLIP of open_clip with its weights, as local-dir: names it."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 2,
        },
    }
    whole = {"model_cfg": settings, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def sentence_model(folder: Path) -> Path:
    from sentence_transformers import SentenceTransformer, models

    words = models.Transformer(str(bert(folder / "bert")), max_seq_length=12)
    pooling = models.Pooling(WIDTH["hidden_size"], pooling_mode="mean")
    SentenceTransformer(modules=[words, pooling, models.Normalize()], device="cpu").save(
        str(folder / "whole")
    )
    return folder / "whole"


def _saved(model, folder: Path, words=None, processor=None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    if words is not None:
        words.save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
