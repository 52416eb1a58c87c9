"""`python -m cluster.clidocs`: the page docs/cli.md, made from the help of the commands."""

from __future__ import annotations

import sys

import typer

from cluster.commands import app

HEAD = """# The command line

Made by `make docs` from the help of the commands. Each takes `--json`: one JSON document on stdout and nothing else
there. Exit code 0: done; 1: failed, with the reason and its code; 2: wrong usage; 130: interrupted by Ctrl-C, which is
a document with the code `interrupted`. Progress goes to stderr.
"""


def page() -> str:
    """The whole page, in Markdown."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="scray", max_content_width=100, terminal_width=100)
    sections = [HEAD]
    for name in group.list_commands(context):  # type: ignore[attr-defined]
        command = group.get_command(context, name)  # type: ignore[attr-defined]
        inner = typer.Context(command, info_name=name, parent=context, max_content_width=100, terminal_width=100)
        sections.append(f"## {name}\n\n```text\n{command.get_help(inner).strip()}\n```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    sys.stdout.write(page())
