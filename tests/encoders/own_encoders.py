"""Encoders as a user would write them."""

import torch
from torch import nn

from setclip.encoders.backbone import Backbone
from setclip.modalities.text import clean_text


class Pixels(nn.Module):
    """Of images: three layers on a few pixels."""

    def __init__(self, width=8):
        super().__init__()
        layers = [nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(2)]
        self.blocks = nn.ModuleList([nn.Conv2d(3, width, 4, stride=4), *layers])

    def forward(self, pixels):
        maps = self.blocks[0](pixels).mean(dim=(2, 3))
        return self.blocks[2](self.blocks[1](maps))


class Letters(nn.Module):
    """Of texts: counts of letters, through two layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(26, 26), nn.Linear(26, 26), nn.Linear(26, 26)])

    def collate(self, texts):
        return {
            "counts": torch.tensor(
                [[float(t.count(chr(97 + i))) for i in range(26)] for t in texts]
            )
        }

    def forward(self, collated):
        states = collated["counts"]
        for layer in self.layers:
            states = layer(states)
        return states


def letters():
    return Letters()


def nothing():
    return "nothing"


class Maps(nn.Conv2d):
    """Gives maps where features were expected."""

    def __init__(self):
        super().__init__(3, 3, 1)


def whole():
    """A backbone, as nothing but the contract."""
    network = Letters()
    return Backbone(
        "own", "text", 26, network, clean_text, network.collate, network.layers, "own:1"
    )
