"""`scray …`: the command line. What a command needs is imported when it runs: `scray convert` never loads Ray,
the HTTP server or a database driver.
"""

from __future__ import annotations

import sys

import typer
from typer.exceptions import TyperException

from cluster import commands_convert, commands_datasets, commands_stack, show

app = typer.Typer(
    name="scray",
    help="From an upload to a verified, streamable, multi-resolution dataset.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for body in (
    commands_stack.up,
    commands_stack.down,
    commands_stack.status,
    commands_datasets.upload,
    commands_datasets.watch,
    commands_datasets.cancel,
    commands_convert.convert,
    commands_convert.verify,
    commands_convert.info,
    commands_stack.doctor,
):
    app.command()(body)


def main() -> None:
    """Run the command of this process; with --json, wrong usage is one document too."""
    if "--json" not in sys.argv:
        app()
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        show.failed("usage", error.format_message(), as_json=True)
        sys.exit(show.EXIT_USAGE)


if __name__ == "__main__":
    main()
