"""The report's colours: one accent a modality, blue for x and orange for y, safe when colour-blind.

Where a map is coloured by class, x and y differ in shape alone. The names become CSS variables,
which the Plotly figures refer to as `var(--x)`; the script of the page resolves them, so that a
figure follows a switch between light and dark.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f6f7f8",
    "ink": "#1b1f24",
    "muted": "#626b76",
    "faint": "#9aa2ac",
    "line": "#e3e6ea",
    "x": "#2b66c4",
    "x-soft": "#e8f0fc",
    "y": "#c2631a",
    "y-soft": "#fdf0e4",
    "good": "#1d7a4a",
    "good-soft": "#e6f4ec",
    "warn": "#8a6100",
    "warn-soft": "#fdf5dc",
    "fail": "#b3261e",
    "fail-soft": "#fcebea",
    "class-1": "#c4566a",
    "class-2": "#332288",
    "class-3": "#d0b64a",
    "class-4": "#117733",
    "class-5": "#6fbfe6",
    "class-6": "#882255",
    "class-7": "#3aa593",
    "class-8": "#8c8c2c",
    "class-9": "#aa4499",
    "class-10": "#661100",
    "class-11": "#5d8cc4",
    "class-12": "#777777",
}

DARK = {
    "paper": "#14171b",
    "panel": "#1c2026",
    "ink": "#e8eaed",
    "muted": "#a0a8b3",
    "faint": "#6d7681",
    "line": "#2d333b",
    "x": "#7fb0ff",
    "x-soft": "#1b2a42",
    "y": "#f2a35e",
    "y-soft": "#3a2817",
    "good": "#64c795",
    "good-soft": "#16301f",
    "warn": "#e6bf5c",
    "warn-soft": "#332a10",
    "fail": "#ff8a80",
    "fail-soft": "#3b1c1a",
    "class-1": "#e5798c",
    "class-2": "#8f82f0",
    "class-3": "#e6d37c",
    "class-4": "#4fb573",
    "class-5": "#9fdcf7",
    "class-6": "#cf5f97",
    "class-7": "#5fcdbb",
    "class-8": "#bdbd58",
    "class-9": "#d77bc8",
    "class-10": "#d0704f",
    "class-11": "#84b0e6",
    "class-12": "#a8a8a8",
}

CLASSES = tuple(name for name in LIGHT if name.startswith("class-"))
"""Colours of classes, the first ones the most unlike each other, also to the colour-blind."""

# From the start of a chain to its end; lighter in the middle, so that order shows in grey too.
CHAIN = ((0x2B, 0x66, 0xC4), (0x2F, 0xA3, 0xA8), (0xD9, 0xB6, 0x3A), (0xC2, 0x63, 0x1A))


def css_variables(colours: dict[str, str]) -> str:
    """The palette as CSS custom properties."""
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def chain_colour(place: float, paleness: float = 0.0) -> str:
    """Colour of a place along a chain, from 0 at its start to 1 at its end.

    Args:
        place: From 0 to 1.
        paleness: Share of white mixed in.
    """
    position = place * (len(CHAIN) - 1)
    left = min(int(position), len(CHAIN) - 2)
    share = position - left
    ends = zip(CHAIN[left], CHAIN[left + 1], strict=True)
    mixed = [(1 - share) * start + share * end for start, end in ends]
    return "#" + "".join(f"{round(c + (255 - c) * paleness):02x}" for c in mixed)
