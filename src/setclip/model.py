"""The aligned model: two towers into one space, and how they are kept on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from setclip.data.atomic import replacing, write_text
from setclip.data.pools import (
    LARGEST,
    Examples,
    FloatArray,
    as_float32,
    beyond_float32,
    check_numbers,
    magnitude,
    named_array,
)
from setclip.linear.maps import AffineMap, Array

if TYPE_CHECKING:
    from setclip.encoders.backbone import Backbone

HeadKind = Literal["linear", "projection"]

FORMAT_VERSION = 1
CARD_HEADING = "# Aligned model"
ROWS_AT_A_TIME = 8192
ITEMS_AT_A_TIME = 32
# Of float32, without sign and mantissa.
EXPONENT_BITS = 0x7F800000
# Numbers of a map between 2 to the power of minus this and of this are kept as they are.
SAFE_EXPONENT = 100

Side = Literal["x", "y"]


@dataclass(frozen=True)
class HeadSpec:
    """Shape of a head, enough to build it again.

    Attributes:
        kind: ``linear``, one affine map; ``projection``, the residual two-layer head of Set-CLIP;
            ``kernel``, an affine map of kernel features, which closed forms give.
        d_in: Width of the features.
        d_out: Width of the shared space.
        dropout: Rate inside the projection head.
        landmarks: Of the kernel head.
    """

    kind: HeadKind | Literal["kernel"]
    d_in: int
    d_out: int
    dropout: float = 0.0
    landmarks: int = 0


class ProjectionHead(nn.Module):
    """``LayerNorm(p + Dropout(W2 GELU(p)))`` with ``p = W1 x``: the head of the paper."""

    def __init__(self, d_in: int, d_out: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(d_in, d_out)
        self.mix = nn.Linear(d_out, d_out)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(d_out)

    def forward(self, x: Tensor) -> Tensor:
        """Shape [n, d_in] to [n, d_out]."""
        p = self.project(x)
        z: Tensor = self.norm(p + self.dropout(self.mix(gelu(p))))
        return z


class KernelHead(nn.Module):
    """``W exp(s (cos(x - c, landmarks) - 1)) + b``: the map of a closed form on kernel features."""

    centre: Tensor
    landmarks: Tensor
    sharpness: Tensor

    def __init__(self, d_in: int, d_out: int, landmarks: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(d_in))
        self.register_buffer("landmarks", torch.zeros(landmarks, d_in))
        self.register_buffer("sharpness", torch.zeros(()))
        self.project = nn.Linear(landmarks, d_out)

    def forward(self, x: Tensor) -> Tensor:
        """Shape [n, d_in] to [n, d_out]."""
        cosines = unit(x - self.centre) @ self.landmarks.T
        z: Tensor = self.project(torch.exp(self.sharpness * (cosines - 1)))
        return z


class Tower(nn.Module):
    """Features of one modality to unit vectors of the shared space."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        self.head = _head(spec)

    def forward(self, x: Tensor) -> Tensor:
        """Shape [n, d_in] to unit rows [n, d_out]."""
        return unit(self.head(x))

    @classmethod
    def from_map(cls, affine: AffineMap) -> Tower:
        """A tower that computes a closed form's map."""
        kernel, (rows, d_out) = affine.kernel, affine.weight.shape
        if kernel is None:
            tower = _unfilled(HeadSpec("linear", rows, d_out))
            linear = tower.head
        else:
            spec = HeadSpec("kernel", len(kernel.centre), d_out, landmarks=rows)
            tower = _unfilled(spec)
            assert isinstance(tower.head, KernelHead)
            tower.head.centre.copy_(torch.from_numpy(kernel.centre))
            tower.head.landmarks.copy_(torch.from_numpy(kernel.landmarks))
            tower.head.sharpness.fill_(kernel.sharpness)
            linear = tower.head.project
        assert isinstance(linear, nn.Linear)
        weight, bias = _in_range(affine)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.copy_(torch.from_numpy(bias))
        return tower


class EncoderTower(nn.Module):
    """Collated items of one modality to unit vectors of the shared space: encoder, then head."""

    def __init__(self, encoder: nn.Module, head: Tower) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """One row an item in every tensor, to unit rows [n, d_out]."""
        z: Tensor = self.head(self.encoder(batch))
        return z


def unit(z: Tensor) -> Tensor:
    """Rows of length one, whatever their magnitude; a zero row stays zero. Shape [..., d]."""
    if z.dtype != torch.float32:
        return normalize(z, dim=-1)
    # Squares of large or small float32 leave its range. The power of two at or below the largest
    # number, which has no mantissa, divides exactly: where squares fit, no bit changes.
    peak = z.detach().abs().amax(dim=-1, keepdim=True)
    power = (peak.view(torch.int32) & EXPONENT_BITS).view(torch.float32)
    power = power.clamp(min=torch.finfo(torch.float32).tiny).where(peak > 0, 1.0)
    return normalize(z / power, dim=-1)


def _in_range(affine: AffineMap) -> tuple[Array, Array]:
    """Weight and bias; by a power of two closer to one where float32 might not hold them.

    Of what they give only the direction counts.
    """
    largest = max(np.abs(affine.weight).max(), np.abs(affine.bias).max())
    exponent = np.frexp(largest)[1]
    if abs(exponent) < SAFE_EXPONENT:
        return affine.weight, affine.bias
    return np.ldexp(affine.weight, -exponent), np.ldexp(affine.bias, -exponent)


def _head(spec: HeadSpec) -> nn.Module:
    if spec.kind == "linear":
        return nn.Linear(spec.d_in, spec.d_out)
    if spec.kind == "kernel":
        return KernelHead(spec.d_in, spec.d_out, spec.landmarks)
    return ProjectionHead(spec.d_in, spec.d_out, spec.dropout)


def _unfilled(spec: HeadSpec) -> Tower:
    # Random weights that are about to be overwritten must not use up the caller's generator.
    with torch.random.fork_rng(devices=[]):
        return Tower(spec)


@dataclass
class ModelCard:
    """What a model was made from and how well it did, kept beside the weights.

    Attributes:
        method: The method's full configuration, defaults included.
        data: How much there was of each kind of supervision, in words.
        seed: The seed of the fit.
        notes: What the method decided and why, one sentence each.
        warnings: Named problems seen while fitting.
        metrics: Evaluation on held-out pairs, if there were any.
        test_items: How many these were.
        x_encoder: Encoder whose features the x tower takes, a bundled name or kind and options;
            empty for ready features.
        y_encoder: The same for y.
    """

    method: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    seed: int = 0
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    test_items: int = 0
    x_encoder: str | dict[str, Any] = ""
    y_encoder: str | dict[str, Any] = ""


class AlignedModel:
    """Two towers into one space, where the cosine of a matching pair is high.

    Example:
        >>> model = setclip.load("runs/demo")
        >>> model.similarity(image_features, text_features).argmax(axis=1)
    """

    def __init__(
        self,
        x_tower: Tower,
        y_tower: Tower,
        card: ModelCard | None = None,
        *,
        x_backbone: Backbone | None = None,
        y_backbone: Backbone | None = None,
    ) -> None:
        if x_tower.spec.d_out != y_tower.spec.d_out:
            raise ValueError(
                f"the x tower ends in {x_tower.spec.d_out} dimensions and the y tower in "
                f"{y_tower.spec.d_out}: both must end in the same space."
            )
        self.x_tower, self.y_tower = x_tower.eval(), y_tower.eval()
        self.card = card or ModelCard()
        self.x_backbone, self.y_backbone = x_backbone, y_backbone

    @property
    def trained_encoders(self) -> bool:
        """Whether the encoders were trained with the heads: such a model takes raw items alone."""
        return self.x_backbone is not None

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.x_tower.spec.d_out

    def encode_x(self, items: npt.ArrayLike | Sequence[Any] | Examples) -> FloatArray:
        """Embed items of the first modality.

        Args:
            items: Features, shape [n, d_x]; or raw items (paths, texts) where the model knows
                its encoder; or both, of which the model takes what it can.

        Returns:
            Unit rows, shape [n, dim].

        Raises:
            ValueError: Items that the model does not take; NaN or infinite features, by row.
        """
        return self._encode("x", items)

    def encode_y(self, items: npt.ArrayLike | Sequence[Any] | Examples) -> FloatArray:
        """Embed items of the second modality; see :meth:`encode_x`."""
        return self._encode("y", items)

    def similarity(
        self, x: npt.ArrayLike | Sequence[Any], y: npt.ArrayLike | Sequence[Any]
    ) -> FloatArray:
        """Cosine of every x with every y, features or raw items. Shape [n, m]."""
        return self.encode_x(x) @ self.encode_y(y).T

    def _encode(self, side: Side, items: npt.ArrayLike | Sequence[Any] | Examples) -> FloatArray:
        tower = self.x_tower if side == "x" else self.y_tower
        encoder = self.card.x_encoder if side == "x" else self.card.y_encoder
        backbone = self.x_backbone if side == "x" else self.y_backbone
        if isinstance(items, str | bytes | Path):
            raise ValueError(
                f"{side} is one item, {str(items)[:40]!r}: give a list of items, [{side}]."
            )
        if isinstance(items, Examples):
            items = items.features if backbone is None else items.items
        if backbone is not None:
            if isinstance(items, list | tuple) and not items:
                return np.zeros((0, self.dim), dtype=np.float32)
            if not _is_raw(items):
                raise ValueError(
                    f"this model was trained together with its {side} encoder "
                    f"{backbone.name!r}: pass raw items (paths, bytes or texts), not features."
                )
            return self._encode_raw(backbone, tower, list(items))  # type: ignore[arg-type]
        if _is_raw(items):
            if not encoder:
                raise ValueError(
                    f"this model was fitted on ready {side} features and knows no encoder for raw "
                    f"items: pass an array of shape [n, {tower.spec.d_in}]."
                )
            from setclip.encoders import from_card

            flat, counts = _single_captions(list(items))  # type: ignore[arg-type]
            each = from_card(encoder).encode(flat)
            items = each
            if (counts > 1).any():  # as while training, the mean of an item's captions
                starts = np.cumsum(counts) - counts
                items = np.add.reduceat(each, starts, axis=0) / counts[:, None]
        array = named_array(side, items)
        if array.ndim != 2 or array.shape[1] != tower.spec.d_in:
            raise ValueError(
                f"{side} features have shape {list(array.shape)}, this model takes "
                f"[n, {tower.spec.d_in}]: use the encoder it was fitted with."
            )
        check_numbers(side, array)
        out = np.empty((len(array), self.dim), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(array), ROWS_AT_A_TIME):
                rows = slice(start, start + ROWS_AT_A_TIME)
                block = np.array(as_float32(array[rows]))
                if not magnitude(block) <= LARGEST:
                    raise beyond_float32(side, as_float32(array))
                out[rows] = tower(torch.from_numpy(block)).numpy()
        return out

    def _encode_raw(self, backbone: Backbone, tower: Tower, items: list[Any]) -> FloatArray:
        """Through the trained encoder; of an item with several captions the mean direction."""
        from setclip.encoders.backbone import on_device

        flat, counts = _single_captions(items)
        network = backbone.network.eval()
        device = next(network.parameters()).device
        parts = []
        with torch.inference_mode():
            for start in range(0, len(flat), ITEMS_AT_A_TIME):
                read = [backbone.prepare(item) for item in flat[start : start + ITEMS_AT_A_TIME]]
                collated = on_device(backbone.collate(read), device)
                parts.append(tower(network(collated)).float().cpu())
        z = torch.cat(parts)
        owner = torch.repeat_interleave(torch.from_numpy(counts))
        summed = torch.zeros(len(items), self.dim).index_add_(0, owner, z)
        embedded: FloatArray = normalize(summed, dim=-1).numpy()
        return embedded

    def save(self, directory: str | Path) -> None:
        """Write weights, ``model.json`` and the card ``README.md``, each atomically.

        Where a README.md of somebody else's lies in the folder the card is ``MODEL.md``.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{side}.{name}": tensor.detach().contiguous()
            for side, tower in (("x", self.x_tower), ("y", self.y_tower))
            for name, tensor in tower.state_dict().items()
        }
        for side, backbone in (("x", self.x_backbone), ("y", self.y_backbone)):
            if backbone is not None:
                # Encoders may tie weights, which safetensors stores only apart.
                weights = backbone.network.state_dict()
                tensors |= {
                    f"{side}_encoder.{name}": tensor.detach().cpu().clone().contiguous()
                    for name, tensor in weights.items()
                }
        description = {
            "format_version": FORMAT_VERSION,
            "setclip": version("setclip"),
            "x": asdict(self.x_tower.spec),
            "y": asdict(self.y_tower.spec),
            "trained_encoders": self.trained_encoders,
            "card": asdict(self.card),
        }
        # The description goes first and comes back last: a folder that has it has everything it
        # speaks of, also when one model replaces another and is interrupted.
        with replacing(folder / "model.safetensors") as aside:
            aside.write_bytes(save(tensors))
            (folder / "model.json").unlink(missing_ok=True)
        write_text(_card_path(folder), self._card_text())
        write_text(folder / "model.json", json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, directory: str | Path, *, trust: bool = False) -> AlignedModel:
        """Read a saved model. Nothing in the files is executed, whoever wrote them.

        Args:
            directory: The folder.
            trust: Import and call the code of one's own that the model names as an encoder which
                was trained with it; without, such a model is refused.

        Raises:
            FileNotFoundError: The folder holds no model.
            ValueError: The files are damaged, of another format version, or name code.
            WeightsUnavailableError: A trained encoder begins with weights that cannot be had.
        """
        from setclip.encoders import backbone_from_card

        folder = Path(directory)
        path = folder / "model.json"
        description = _description(path)
        weights = folder / "model.safetensors"
        try:
            towers = {s: _unfilled(HeadSpec(**description[s])) for s in ("x", "y")}
            tensors = load_file(weights)
            for side, tower in towers.items():
                tower.load_state_dict(_part(tensors, f"{side}."))
            card = ModelCard(**description["card"])
            holds_encoders = bool(description.get("trained_encoders"))
        except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
            raise _damaged(path, weights, error) from error
        described = {"x": card.x_encoder, "y": card.y_encoder} if holds_encoders else {}
        backbones = {s: backbone_from_card(d, trust=trust) for s, d in described.items()}
        try:
            for side, backbone in backbones.items():
                backbone.network.load_state_dict(_part(tensors, f"{side}_encoder."))
        except RuntimeError as error:
            raise _damaged(path, weights, error) from error
        return cls(
            towers["x"],
            towers["y"],
            card,
            x_backbone=backbones.get("x"),
            y_backbone=backbones.get("y"),
        )

    def _card_text(self) -> str:
        card = self.card
        encoders = _encoder_name(card.x_encoder), _encoder_name(card.y_encoder)
        parts = [
            CARD_HEADING,
            f"Two towers into one space of {self.dim} dimensions, fitted by setclip with method "
            f"`{card.method.get('kind', 'unknown')}`, seed {card.seed}.",
            f"- x: {encoders[0]}, {self.x_tower.spec.d_in}-d, {self.x_tower.spec.kind} head\n"
            f"- y: {encoders[1]}, {self.y_tower.spec.d_in}-d, {self.y_tower.spec.kind} head",
            f"## Data\n{card.data or 'not recorded'}",
            _listing("How it was fitted", card.notes),
            _listing("Warnings", card.warnings),
            "## Method\n```json\n" + json.dumps(card.method, indent=2) + "\n```",
        ]
        if card.metrics:
            rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in card.metrics.items())
            on = f" on {card.test_items:,} test items" if card.test_items else ""
            parts.append(f"## Held-out metrics{on}\n| metric | value |\n|---|---|\n" + rows)
        given = "x_items, y_items" if self.trained_encoders else "x_features, y_features"
        parts.append(
            '## Use\n```python\nimport setclip\n\nmodel = setclip.load("this folder")\n'
            f"model.similarity({given})\n```"
        )
        return "\n\n".join(part for part in parts if part) + "\n"


def _single_captions(items: list[Any]) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """Every caption by itself, and how many are of each item.

    Raises:
        ValueError: An item without captions.
    """
    several = [item if isinstance(item, tuple) else (item,) for item in items]
    counts = np.array([len(captions) for captions in several], dtype=np.int64)
    if (counts == 0).any():
        raise ValueError(f"item {int(counts.argmin())} is (), without a caption: leave it out.")
    return [caption for captions in several for caption in captions], counts


def _card_path(folder: Path) -> Path:
    """README.md, unless somebody else's is there."""
    path = folder / "README.md"
    try:
        own = path.read_text(encoding="utf-8").startswith(CARD_HEADING)
    except FileNotFoundError:
        own = True
    except (OSError, UnicodeDecodeError):
        own = False
    return path if own else folder / "MODEL.md"


def _encoder_name(described: str | dict[str, Any]) -> str:
    """A name as it is, options as JSON."""
    text = described if isinstance(described, str) else f"`{json.dumps(described)}`"
    return text or "ready features"


def _description(path: Path) -> dict[str, Any]:
    """What ``model.json`` says."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give the folder that `setclip fit` or `model.save` wrote."
        )
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = description["format_version"]
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a model description: {error}.") from error
    if found != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {found}, this setclip reads {FORMAT_VERSION}: install "
            f"setclip {description.get('setclip', 'of the writer')} to read it."
        )
    return description


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _damaged(path: Path, weights: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()).rstrip(". ")  # PyTorch's runs over many lines
    return ValueError(
        f"{weights} does not fit {path.name}, one of them is damaged: {reason}. "
        "Fit the model again or restore both files."
    )


def _listing(title: str, lines: list[str]) -> str:
    return f"## {title}\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _is_raw(items: Any) -> bool:
    """Whether a sequence or an array holds raw items (paths, texts, bytes) and not numbers."""
    if getattr(getattr(items, "dtype", None), "kind", "") in ("O", "U", "S"):
        items = list(items)
    first = items[0] if isinstance(items, Sequence) and len(items) else None
    several = isinstance(first, tuple) and len(first) > 0 and isinstance(first[0], str)
    return several or isinstance(first, str | bytes | Path)
