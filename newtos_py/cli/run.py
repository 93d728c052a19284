"""`newtos run`: turn into a program on a host, as `env` turns into one with other variables.

It execs: the program *is* then this process, so exit status, signals, terminal, pipes and pid are
exactly the program's own. What it finds in its environment:

    LD_PRELOAD        libnewtos.so, before whatever stood there
    NEWTOS_CONTROL    path of the host's control socket, which the shim connects to
    NEWTOS_HOST       the host's name

NEWTOS_SOCKETS=syscall or =channel loads another libnewtos.so (libc_shim/calls).
The program runs on the host's core with the host's scheduler slice, inherited by its children.
Statuses of its own are those of env(1): 125 for an error of newtos, 126 for a program that can't
be invoked, 127 for one that is not there.
"""

import errno
import importlib.resources
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from newtos_py.cli.preload import why_not_preloadable
from newtos_py.cli.runtime_dir import open_own
from newtos_py.errors import NewtosError
from newtos_py.kernel.sched import set_slice
from newtos_py.rs.records import HostRecord

FAILED, CANT_INVOKE, NOT_FOUND = 125, 126, 127
SHIM = "libnewtos.so"
# What NEWTOS_SOCKETS may ask for beside the default: the baselines of the papers, whose calls go
# through the syscall server, by System V messages or on channels.
BASELINES = ("syscall", "channel")


class EnvLikeCommand(click.Command):
    """A command whose own errors, those of usage included, have status 125."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.show()
            raise click.exceptions.Exit(FAILED) from None


@click.command(
    cls=EnvLikeCommand,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: newtos run --host client -- curl http://10.0.0.2/",
)
@click.option("--host", "host_name", metavar="NAME", required=True, help="The host to run on.")
@click.argument("program")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(host_name: str, program: str, args: tuple[str, ...]) -> None:
    """Run PROGRAM with ARGS on a host; its sockets are then that host's.

    Exit status, signals, standard input and output are the program's own. Status 125: newtos
    failed; 126: the program can't be invoked; 127: there is no such program.
    """
    try:
        runtime = open_own()
        record = runtime.find_host(host_name)
        control = runtime.control_path(record.token, record.host)
        environ = environment_on(record, control, find_shim(), os.environ)
        settle(record)
    except NewtosError as error:
        _fail(str(error), FAILED)
    become(program, args, environ)


def find_shim() -> Path:
    """Find the installed libnewtos.so; NewtosError if it is not there or can't be preloaded."""
    folder = Path(str(importlib.resources.files("newtos_py.libc_shim")))
    sockets = os.environ.get("NEWTOS_SOCKETS", "")
    if sockets and sockets not in BASELINES:
        problem = f"NEWTOS_SOCKETS is {sockets!r}, and no such way to call sockets is there"
        raise NewtosError(f"{problem}; valid: {', '.join(BASELINES)}, or unset it")
    shim = (folder / "calls" if sockets else folder) / SHIM
    if not shim.is_file():
        raise NewtosError(f"{shim} is missing; install newtos_py again")
    # ld.so(8): both separate the entries of LD_PRELOAD, and nothing quotes them.
    if set(" :") & set(str(shim)):
        problem = f"{shim} can't be preloaded: its path holds a space or a colon"
        raise NewtosError(f"{problem}; install newtos_py elsewhere")
    return shim


def environment_on(
    record: HostRecord, control: Path, shim: Path, environ: Mapping[str, str]
) -> dict[str, str]:
    """Make the environment of a program on a host."""
    others = environ.get("LD_PRELOAD", "").replace(":", " ").split()
    preload = [str(shim), *(other for other in others if Path(other).name != SHIM)]
    return {
        **environ,
        "LD_PRELOAD": " ".join(preload),
        "NEWTOS_CONTROL": str(control),
        "NEWTOS_HOST": record.host,
    }


def settle(record: HostRecord) -> None:
    """Move the calling process to the host's core and slice; NewtosError if it may not."""
    try:
        os.sched_setaffinity(0, {record.programs_core})
    except OSError as error:
        problem = f"can't run on core {record.programs_core}: {error.strerror}"
        raise NewtosError(f"{problem}; boot {record.host} with other cores") from None
    # Only the wake-up is slower without it, and a sandbox may forbid the call.
    with suppress(OSError):
        set_slice(record.slice_us)


def become(program: str, args: tuple[str, ...], environ: dict[str, str]) -> NoReturn:
    """Exec the program, or end with the status that says why not."""
    # Not os.execvpe: it looks further when it finds a script without an interpreter.
    path = shutil.which(program, path=environ.get("PATH"))
    reason = why_not_preloadable(Path(path)) if path is not None else None
    if reason is not None:
        _fail(f"{program}: {reason}", CANT_INVOKE)
    # Python ignores these two; a program expects to find them as they are by default.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    sys.stdout.flush()
    try:
        if path is None:
            os.execvpe(program, [program, *args], environ)  # fails, and knows why
        else:
            _execute(path, [program, *args], environ)
    except OSError as error:
        is_missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        _fail(f"{program}: {error.strerror}", NOT_FOUND if is_missing else CANT_INVOKE)


def _execute(path: str, argv: list[str], environ: dict[str, str]) -> NoReturn:
    """Exec a file as execvp(3) does: what the kernel can't execute is the shell's."""
    try:
        os.execve(path, argv, environ)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    os.execve("/bin/sh", ["/bin/sh", path, *argv[1:]], environ)


def _fail(message: str, status: int) -> NoReturn:
    click.echo(f"newtos run: {message}", err=True)
    raise click.exceptions.Exit(status)
