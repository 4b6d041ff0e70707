"""The list of commands in `harness --help`: in groups, whole sentences."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "Recipes": ("init", "validate", "plan", "fetch", "run", "report"),
    "Results": ("compare", "ui", "sync"),
    "Workdir": ("ls", "show", "diff", "retract", "gc", "pack", "import"),
    "Models and machine": ("model", "lm-eval", "doctor"),
}


class Commands(TyperGroup):
    """Lists its commands in groups, each with the first sentence of its help in full."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        grouped = {name for names in GROUPS.values() for name in names}
        groups = {**GROUPS, "Commands": tuple(name for name in commands if name not in grouped)}
        for title, names in groups.items():
            rows = [(name, first_sentence(command.help)) for name in names if (command := commands.get(name))]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def first_sentence(text: str | None) -> str:
    """The first paragraph of a help text on one line."""
    return " ".join((text or "").split("\n\n")[0].split())
