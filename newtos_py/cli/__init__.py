"""The command line, `newtos`: one file a command, named like it, loaded when it is called.

Loading late keeps `newtos run` quick: it stands in front of every program and needs none of what
the tables need. A command's module has its click command under the name `command`.

What newtos_py can explain (NewtosError) ends with one line on standard error and status 1, never
with a traceback; a traceback is a bug.
"""

from importlib import import_module

import click

from newtos_py.errors import NewtosError

# In the order in which --help shows them.
COMMANDS = ("demo", "boot", "run", "ps", "ss", "counters", "pcap", "down", "clean", "bench")


class FailureError(click.ClickException):
    """Ends a command with one line on standard error and status 1."""

    def show(self, file: object = None) -> None:  # noqa: ARG002 (click's signature)
        """Print the message."""
        click.echo(f"newtos: {self.message}", err=True)


class LateGroup(click.Group):
    """The group of all commands, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Name all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load one command; None if there is no such."""
        if cmd_name not in COMMANDS:
            return None
        command: object = import_module(f"newtos_py.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was asked for; what can be explained becomes a message."""
        try:
            return super().invoke(ctx)
        except NewtosError as error:
            raise FailureError(str(error)) from None


@click.group(cls=LateGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="newtos_py", prog_name="newtos")
def main() -> None:
    """Run a multiserver operating system's network stack under unmodified programs."""
