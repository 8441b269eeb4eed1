"""A hub that does not answer: said at once, with what to do; nothing on this machine needs one."""

import socket
import time

import pytest
import torch
from encoders import tiny_models

from setclip.encoders import hub, open_backbone, torchvision
from setclip.encoders.choices import parsed

CLOSED = "http://127.0.0.1:9"

WANTED = [
    {"kind": "timm", "model": "resnet10t.c3_in1k"},
    {"kind": "open-clip", "model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k", "tower": "text"},
    {"kind": "transformers", "model": "nobody/nothing"},
    {"kind": "sentence-transformers", "model": "nobody/nothing"},
    {"kind": "torchvision", "model": "squeezenet1_1", "weights": "DEFAULT"},
]


@pytest.fixture
def _nobody_answers(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", CLOSED)
    monkeypatch.setattr(torchvision, "PYTORCH", CLOSED)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request.getproxies", dict)


@pytest.mark.usefixtures("_nobody_answers")
@pytest.mark.parametrize("options", WANTED, ids=lambda options: options["kind"])
def test_weights_that_cannot_be_had_say_so_at_once(options, monkeypatch):
    def no_download(*args, **kwargs):
        raise OSError("no download without a hub")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_download)
    started = time.monotonic()
    with pytest.raises(hub.WeightsUnavailableError) as caught:
        open_backbone(parsed(options))
    assert time.monotonic() - started < 20
    message = str(caught.value)
    for part in (options["model"].split(".")[0], CLOSED, "local folder", "pretrained: false"):
        assert part in message
    assert "efficientnet-lite0" in message


def test_what_is_on_this_machine_asks_nobody(monkeypatch, tmp_path):
    def asked(*args, **kwargs):
        raise AssertionError("the network was asked")

    folder = tiny_models.bert(tmp_path)
    monkeypatch.setattr(socket, "create_connection", asked)
    monkeypatch.setattr(socket.socket, "connect", asked)
    options = parsed({"kind": "transformers", "model": str(folder)})
    assert open_backbone(options).dim == 32
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="model_type"):
        open_backbone(options)


def test_random_weights_need_no_hub(tmp_path):
    folder = tiny_models.bert(tmp_path)
    (folder / "model.safetensors").unlink()
    options = {"kind": "transformers", "model": str(folder), "pretrained": False}
    first, again = (open_backbone(parsed(options)) for _ in range(2))
    assert first.fingerprint == again.fingerprint


def test_reachable_asks_the_server_or_the_proxy_before_it(monkeypatch):
    asked = []

    class Connection:
        def close(self):
            asked.append("closed")

    def connect(target, timeout):
        asked.append(target)
        return Connection()

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    assert hub.reachable("https://hub.example")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy.example:3128"})
    assert hub.reachable("https://hub.example")
    assert asked == [("hub.example", 443), "closed", ("proxy.example", 3128), "closed"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub.reachable("https://hub.example")


def test_errors_of_a_hub_that_answers_are_its_own(monkeypatch):
    monkeypatch.setattr(hub, "reachable", lambda address: True)
    with pytest.raises(KeyError, match="401"), hub.asking("a model"):
        raise KeyError("401")
