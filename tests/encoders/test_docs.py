"""docs/encoders.md: the encoder of one's own runs as it is printed, and is as short as promised."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from setclip.config.models import Encoders
from setclip.encoders import open_backbone, open_encoder
from setclip.encoders.choices import AnyOptions, parsed
from setclip.encoders.options import EncoderOptions

DOCUMENT = Path(__file__).parents[2] / "docs" / "encoders.md"


@pytest.fixture(scope="module")
def text():
    return DOCUMENT.read_text(encoding="utf-8")


def test_bring_your_own_encoder(text, tmp_path, monkeypatch):
    own = text.split("## Bring your own encoder")[1]
    code, section = (
        re.findall(rf"```{kind}\n(.*?)```", own, re.S)[0] for kind in ("python", "yaml")
    )
    assert len([line for line in code.splitlines() if line.strip()]) < 20
    (tmp_path / "my_encoders.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    options = Encoders.model_validate(yaml.safe_load(section)["encoders"]).y
    backbone = open_backbone(options)
    features = backbone.network(backbone.collate(["two cats", "café"]))
    assert features.shape == (2, 64)
    features.sum().backward()
    trained = {n for n, p in backbone.network.named_parameters() if p.grad is not None}
    assert trained == {"network.blocks.1.weight", "network.blocks.1.bias"}
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(open_encoder(options).encode(["two cats", "café"])), features.detach()
        )


def test_every_choice_and_every_common_option_is_listed(text):
    listed = set(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M))
    kinds = {m.model_fields["kind"].annotation.__args__[0] for m in AnyOptions.__args__[0].__args__}
    assert kinds <= listed
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.M))
    assert set(EncoderOptions.model_fields) - {"kind"} <= listed


def test_the_lines_that_choose_are_valid(text):
    section = re.findall(r"```yaml\n(.*?)```", text, re.S)[0]
    chosen = Encoders.model_validate(yaml.safe_load(section)["encoders"])
    assert chosen.y.max_tokens == 64
    assert parsed(eval(re.search(r"parsed\((\{.*?\})\)", text)[1])).freeze == 9
