"""Two processes started by torchrun fit one run: its files are those of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_encoders as tiny
import torch
from safetensors.torch import load_file

from setclip.config import load_config
from setclip.run import run_fit

ROOT = Path(__file__).parents[1]
CONFIG = """
data:
  kind: manifest
  path: {folder}/items.csv
  x: {{column: picture, modality: image}}
  y: {{column: text, modality: text}}
  set_column: set
  test_fraction: 0.3
  near_duplicate: 1.0
encoders:
  x: {{kind: module, target: "tiny_encoders:pictures", modality: image, size: 16}}
  y: {{kind: module, target: "tiny_encoders:texts", modality: text}}
method: {{kind: towers, start: cca, x_blocks: 1, y_blocks: 1, steps: 6, batch: 16, batch_pairs: 12,
  weight_ssl: 0, augment: false, head_rate: 1.0, lr: 0.003, device: cpu, shard: {shard}}}
report: false
output: {output}
"""


def written(folder: Path, name: str, *, shard: bool = False) -> Path:
    config = folder / f"{name}.yaml"
    text = CONFIG.format(folder=folder, output=folder / name, shard=str(shard).lower())
    config.write_text(text)
    return config


def fit_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SETCLIP_CACHE", str(folder / "cache"))
    run_fit(load_config(written(folder, "one")), say=lambda sentence: None)
    return folder / "one"


def fit_together(folder: Path, *, shard: bool) -> Path:
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    program = str(Path(sys.executable).parent / "setclip")
    command = [sys.executable, *together, program, "fit", str(written(folder, "two", shard=shard))]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "SETCLIP_CACHE": str(folder / "cache")}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Learning from") == 1
    return folder / "two"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    x, y = tiny.items(80)
    rows = ["picture,text,set"]
    for number, (picture, text) in enumerate(zip(x, y, strict=True)):
        (tmp_path / f"{number}.png").write_bytes(picture)
        if number < 40:
            rows.append(f"{number}.png,{text},")
        else:
            rows += [f"{number}.png,,set {number // 4}", f",{text},set {number // 4}"]
    (tmp_path / "items.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_make_the_run_of_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, shard: bool
) -> None:
    one, two = fit_alone(folder, monkeypatch), fit_together(folder, shard=shard)
    alone, together = (load_file(run / "model.safetensors") for run in (one, two))
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=0, atol=1e-5, msg=name)
    log = [json.loads(line) for line in (two / "log.jsonl").read_text().splitlines()]
    steps = [entry["step"] for entry in log if entry["phase"] == "towers"]
    assert steps == [1, 2, 3, 4, 5, 6]
    results = [json.loads((run / "results.json").read_text())["results"][0] for run in (one, two)]
    assert results[0]["recall"] == results[1]["recall"]
