"""Write the tables of docs/results.md from a folder of `setclip bench full`, print the README's.

    python scripts/build_results.py runs/bench

What stands above the tables of docs/results.md is written by hand and kept.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs" / "results.md"
SHOWN = {
    "glosses": (0, 20, 100),
    "emoji": (0, 20, 100, 500),
    "openclipart": (0, 20, 100, 500),
    "mdi-icons": (20, 100, 500),
}
LEFT_OUT = ("chance", "cca (pairs alone)")
HEADING = "## `setclip bench full`\n\n"


def tables(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """R@10 by heading, row and number of pairs."""
    found = {}
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in body.split("\n")]
        head, _, *rest = [row for row in rows if row]
        found[heading] = {
            row[0].partition(",")[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rest
        }
    return found


def readme_table(text: str) -> str:
    """Disjoint pools: a row a method, a column a data set and number of pairs."""
    found = tables(text)
    columns = [(data, str(count)) for data, counts in SHOWN.items() for count in counts]
    lines = [
        "| method | " + " | ".join(f"{data} {count}" for data, count in columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for label in sorted(next(iter(found.values())), key=lambda label: label == "auto"):
        if label not in LEFT_OUT:
            cells = [found[f"{d}: disjoint pools"].get(label, {}).get(n, "–") for d, n in columns]
            name = f"**{label}**" if label == "auto" else label
            lines.append("| " + " | ".join([name, *cells]).replace("—", "–") + " |")
    return "\n".join(lines)


def main() -> None:
    """The folder of the benchmark is the only argument."""
    folder = Path(sys.argv[1])
    text = (folder / "full.md").read_text(encoding="utf-8")
    _, _, text = text.partition("\n\n")
    # After the glance every number of pairs has a heading of its own.
    glance = re.split(r"^### [^\n]*, (?:no pair|\d+ pairs)$", text, flags=re.MULTILINE)[0]
    glance = glance.replace("; intervals stand in the tables below", "")
    before, heading, _ = DOCS.read_text(encoding="utf-8").partition(HEADING)
    if not heading:
        raise SystemExit(f"{DOCS} has no heading {HEADING.strip()!r}, which the tables follow.")
    tables_of_it = glance.replace("### ", "## ").strip()
    DOCS.write_text(f"{before}{heading}{tables_of_it}\n", encoding="utf-8")
    print(readme_table(glance))


if __name__ == "__main__":
    main()
