"""The command line, `newtos`: one file a command, gathered here."""

import click

from newtos_py import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="newtos")
def main() -> None:
    """Run a multiserver operating system's network stack under unmodified programs."""
