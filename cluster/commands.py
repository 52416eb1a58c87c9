"""`scray …`: the commands. What one needs is imported when it runs: `scray convert` never loads Ray, the HTTP server or
a database driver.
"""

from __future__ import annotations

import typer

from cluster import commands_convert, commands_datasets, commands_logs, commands_operate, commands_stack

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
    commands_datasets.download,
    commands_datasets.cancel,
    commands_operate.retry,
    commands_logs.logs,
    commands_convert.convert,
    commands_convert.verify,
    commands_convert.info,
    commands_operate.submit,
    commands_operate.drain,
    commands_operate.resume,
    commands_stack.doctor,
):
    app.command()(body)
