"""Pins: two processes give the gradients of one on the concatenated batch, for every loss; chunks
give those of the whole, dropout, autocast and running statistics included; nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from training.forked import forked
from training.gathered_cases import (
    DTYPES,
    SEED,
    WIDTHS,
    Tower,
    alone,
    data,
    gradients,
    keys,
    kinds,
    member,
)

from setclip.losses import clip_loss, sdd
from setclip.training.cached_gradients import Call, accumulate, seeded
from setclip.training.distributed import gather_rows, rank, world_size

# Of the largest value. Sums in another order and by other instructions differ by tens of roundings.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What two processes found; they start once and run everything."""
    folder: Path = tmp_path_factory.mktemp("two")
    processes = [forked().Process(target=member, args=(number, folder)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    return [load_file(folder / f"{number}.safetensors") for number in range(2)]


def of(found: dict[str, Tensor], key: object) -> dict[str, Tensor]:
    prefix = f"{key}/"
    return {name.removeprefix(prefix): t for name, t in found.items() if name.startswith(prefix)}


def close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Equal up to a part of the largest value that there is."""
    assert found.keys() == expected.keys()
    allowed = tolerance * max(float(tensor.abs().max()) for tensor in expected.values())
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].to(tensor.dtype), tensor, rtol=0, atol=allowed)


@pytest.mark.parametrize(("name", "dtype", "chunk", "wrapper"), keys())
def test_two_processes_find_what_one_finds(
    two: list[dict[str, Tensor]], name: str, dtype: str, chunk: int | None, wrapper: str | None
) -> None:
    first, second = (of(found, (name, dtype, chunk, wrapper)) for found in two)
    expected = alone(name, DTYPES[dtype])
    shares = {entry: tensor for entry, tensor in first.items() if entry.startswith("tower")}
    same = first.keys() if wrapper else first.keys() - shares.keys()
    assert all(first[entry].equal(second[entry]) for entry in same)
    if not wrapper:
        first |= {entry: share + second[entry] for entry, share in shares.items()}
    tolerance = TOLERANCE[dtype]
    close({"value": first.pop("value")}, {"value": expected.pop("value")}, tolerance)
    close(first, expected, tolerance)


@pytest.mark.parametrize("name", kinds())
def test_rows_of_any_kind_are_gathered(two: list[dict[str, Tensor]], name: str) -> None:
    for found in two:
        gathered = found[f"gathered {name}"]
        assert gathered.dtype is kinds()[name].dtype
        assert gathered.equal(kinds()[name])


def test_rows_of_different_widths_are_refused_everywhere(two: list[dict[str, Tensor]]) -> None:
    for found in two:
        assert (
            "a row takes 12, 16 bytes on ranks 0 to 1" in bytes(found["refusal"].tolist()).decode()
        )


def test_one_process_is_a_group_of_one() -> None:
    rows = torch.ones(3, 2, requires_grad=True)
    gathered, place = gather_rows(rows)
    assert (rank(), world_size(), place) == (0, 1, slice(0, 3))
    assert gathered.equal(rows)
    assert not gathered.requires_grad


def objective(z: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"clip": clip_loss(z["x"], z["y"]), "sdd": 0.1 * sdd(z["x pool"], z["y"])}


ROWS = {"x": 7, "y": 7, "x pool": 5}
# Ends of the chunks of at most three rows.
ENDS = {"x": (2, 4, 7), "y": (2, 4, 7), "x pool": (2, 5)}


def tied(dtype: torch.dtype, dropout: float) -> dict[str, Tower]:
    torch.manual_seed(0)
    both = {name: Tower(width, dropout).to(dtype) for name, width in WIDTHS.items()}
    both["y"].layers[4] = both["x"].layers[4]
    return both


def calls(both: dict[str, Tower], dtype: torch.dtype) -> dict[str, Call]:
    return {
        name: Call(both[name[0]], {"features": data(name, rows, dtype).features})
        for name, rows in ROWS.items()
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_chunks_give_the_gradient_of_the_whole(dtype: str, dropout: float) -> None:
    chunked, whole = tied(DTYPES[dtype], dropout), tied(DTYPES[dtype], dropout)
    terms = accumulate(calls(chunked, DTYPES[dtype]), objective, chunk=3, seed=SEED)
    embedded = {}
    for place, (name, call) in enumerate(calls(whole, DTYPES[dtype]).items()):
        parts = []
        for i, (start, stop) in enumerate(zip((0, *ENDS[name]), ENDS[name], strict=False)):
            # The masks of each chunk, on a graph that holds all of them.
            with seeded((*SEED, 0, place, i), torch.device("cpu")):
                parts.append(call.module({"features": call.batch["features"][start:stop]}))
        embedded[name] = torch.cat(parts)
    expected = objective(embedded)
    sum(expected.values()).backward()
    assert terms == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-6)
    tolerance = {"float64": 1e-10, "float32": 1e-5}[dtype]
    for name, tower in whole.items():
        close(gradients({name: chunked[name]}, {}), gradients({name: tower}, {}), tolerance)


@pytest.mark.parametrize("chunk", [None, 3])
def test_the_scale_is_that_of_the_towers_alone(chunk: int | None) -> None:
    found = []
    for scale in (1.0, 3.0):
        both = tied(torch.float64, 0.2)
        temperature = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
        accumulate(
            calls(both, torch.float64),
            lambda z, t=temperature: {"clip": clip_loss(z["x"], z["y"], temperature=t)},
            chunk=chunk,
            seed=SEED,
            scale=scale,
        )
        found.append((gradients(dict(both), {}), temperature.grad))
    (once, first), (thrice, second) = found
    assert first == second
    close(thrice, {name: 3 * gradient for name, gradient in once.items()}, 1e-12)


def test_masks_depend_on_seed_and_chunk() -> None:
    def value(seed: int, chunk: int | None) -> float:
        both = tied(torch.float64, 0.5)
        found = accumulate(calls(both, torch.float64), objective, chunk=chunk, seed=(seed,))
        return found["clip"]

    assert value(0, None) == value(0, None)
    assert value(0, None) == value(0, 100)
    assert value(0, None) != value(1, None)
    assert value(0, 3) != value(0, None)


@pytest.mark.parametrize("chunk", [None, 3])
def test_the_global_generator_and_earlier_gradients_stay(chunk: int | None) -> None:
    both = tied(torch.float64, 0.5)
    accumulate(calls(both, torch.float64), objective, chunk=chunk, seed=SEED)
    once = {n: p.grad.clone() for n, p in both["x"].named_parameters() if p.grad is not None}
    before = torch.get_rng_state()
    accumulate(calls(both, torch.float64), objective, chunk=chunk, seed=SEED)
    assert torch.get_rng_state().equal(before)
    for name, p in both["x"].named_parameters():
        torch.testing.assert_close(p.grad, 2 * once[name])


@pytest.mark.parametrize("chunk", [None, 3])
def test_a_frozen_tower_and_an_unused_call_cost_no_gradient(chunk: int | None) -> None:
    both = tied(torch.float64, 0.0)
    both["y"].requires_grad_(False)
    both["x"].requires_grad_(False)
    both["x"].layers[0].requires_grad_(True)
    passes: list[str] = []
    both["y"].register_forward_hook(lambda *_: passes.append("y"))
    accumulate(
        calls(both, torch.float64),
        lambda z: {"clip": clip_loss(z["x"], z["y"])},
        chunk=chunk,
        seed=SEED,
    )
    assert len(passes) == (1 if chunk is None else 3)
    assert all(p.grad is None for p in both["y"].parameters())
    assert both["x"].layers[0].weight.grad is not None
    assert both["x"].layers[0].weight.grad.abs().max() > 0


def test_autocast_does_not_lose_the_gradients_of_a_replay() -> None:
    found = []
    for chunk in (None, 3):
        both = tied(torch.float32, 0.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            accumulate(calls(both, torch.float32), objective, chunk=chunk, seed=SEED)
        found.append(both["x"].layers[0].weight.grad)
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].abs().max() > 0
    torch.testing.assert_close(
        found[1], found[0], rtol=0.1, atol=0.02 * float(found[0].abs().max())
    )


def test_running_statistics_count_a_chunk_once() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(6)

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return self.norm(batch["features"])

    module, reference = Normed(), Normed()
    features = data("x", 6, torch.float32).features
    accumulate(
        {"x": Call(module, {"features": features})},
        lambda z: {"square": z["x"].pow(4).mean()},
        chunk=3,
        seed=SEED,
    )
    for rows in (slice(0, 3), slice(3, 6)):
        reference({"features": features[rows]})
    assert module.norm.num_batches_tracked == 2
    torch.testing.assert_close(module.norm.running_mean, reference.norm.running_mean)
    torch.testing.assert_close(module.norm.running_var, reference.norm.running_var)


def test_a_module_that_averages_does_so_once() -> None:
    # As FSDP2 is told; the two calls of x share a module, y has one of its own.
    told: dict[str, list[bool]] = {"x": [], "y": []}
    both = tied(torch.float64, 0.0)
    for name, tower in both.items():
        tower.set_requires_gradient_sync = told[name].append
        tower.layers[0].weight.register_hook(lambda g, name=name: told[name].append(None) or g)
    accumulate(calls(both, torch.float64), objective, chunk=3, seed=SEED)
    for flags in told.values():
        backward = [flags[i - 1] for i, flag in enumerate(flags) if flag is None]
        assert backward == [False] * (len(backward) - 1) + [True]


def test_bad_input_is_named() -> None:
    both = tied(torch.float64, 0.0)
    with pytest.raises(ValueError, match="chunk is 0; give the rows"):
        accumulate(calls(both, torch.float64), objective, chunk=0, seed=SEED)
    with pytest.raises(ValueError, match="the objective has no term"):
        accumulate(calls(both, torch.float64), lambda z: {}, chunk=None, seed=SEED)
