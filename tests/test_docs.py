"""The README and the docs: commands are ones that setclip takes, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from setclip.benchmark.suites import SUITES, cells_of
from setclip.cli import _count, _seeds, _words, app
from setclip.config import load_config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> Iterator[tuple[str, str]]:
    """Page and command, of shell blocks, of indented lines and of code in the text."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
        indented = re.findall(r"^    (setclip .*?)(?:  .*)?$", text, flags=re.MULTILINE)
        for line in "\n".join([*blocks, *indented]).replace("\\\n", " ").splitlines():
            for part in line.split("#")[0].split("&&"):
                _, found, command = part.rpartition("setclip) ")
                command = "setclip " + command if found else part.strip()
                if command.startswith("setclip "):
                    yield page.name, command.strip()
        rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for command in re.findall(r"`(setclip [^`]+)`", rest):
            # Shorter ones name a command and do not show it.
            if len(command.split()) > 2 and command != "setclip data build":
                yield page.name, command


FOUND = sorted(set(commands()))


def parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The command that takes these arguments, and its parameters; raises on what it lacks."""
    command: Any = typer.main.get_command(app)
    while True:
        context = command.make_context(command.name, list(arguments))
        if not hasattr(command, "resolve_command"):
            return command.name, context.params
        # What click holds back for the subcommand is private in its newer versions.
        left = [*getattr(context, "_protected_args", ()), *context.args]
        _, command, arguments = command.resolve_command(context, left)


def test_there_are_commands_to_look_at() -> None:
    assert {page for page, _ in FOUND} >= {"README.md", "advice.md", "proteins.md", "sdd.md"}


@pytest.mark.parametrize(("page", "command"), FOUND)
def test_a_command_of_the_docs_is_taken(
    page: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, given = parsed(shlex.split(command)[1:])
    if name == "run" and given["suite"] in SUITES:
        pairs = [_count(word) for word in _words(given["pairs"]) or ()] or None
        assert cells_of(
            given["suite"],
            methods=_words(given["methods"]),
            pairs=pairs,
            seeds=_seeds(given["seeds"]),
            conditions=_words(given["conditions"]),  # type: ignore[arg-type]
            set_size=given["set_size"],
        )
    if name == "fit":
        monkeypatch.chdir(tmp_path)
        for name in ("birds.yaml", "config.yaml"):
            Path(name).write_text(birds(), encoding="utf-8")
        Path("configs").symlink_to(ROOT / "configs")
        load_config(given["config"], given["overrides"] or ())


def links() -> Iterator[tuple[str, str]]:
    """Page and target, of links inside the repository."""
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" not in target:
                yield str(page.relative_to(ROOT)), target


def anchors(page: Path) -> set[str]:
    """Of the headings, as the hosts of repositories make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize(("page", "target"), sorted(set(links())))
def test_a_link_of_the_docs_leads_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    to = (ROOT / page).parent / path if path else ROOT / page
    assert to.exists()
    assert not anchor or anchor in anchors(to)


def birds() -> str:
    """The config that the README shows."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert isinstance(yaml.safe_load(block), dict)
    return str(block)
