"""Finding what servers are: from an entry point to its ServerSpec.

Entry points name a spec as "module:NAME" (a reference). rs and the zygote each load what they need
from the reference, so both speak of the same thing.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import ServerSpec
from newtos_py.topology import HostPlan, ServerPlan


class SpecError(NewtosError):
    """A server's entry point is missing or does not name a server."""


def references_of(plan: HostPlan, replaced: Mapping[str, str]) -> dict[str, str]:
    """Find the reference of each server of a host, by role.

    `replaced` gives references for entry points by name, before what is installed. SpecError if
    there is none, or more than one.
    """
    return {server.role: _reference(server, replaced) for server in plan.servers}


def load_spec(reference: str) -> ServerSpec:
    """Import a ServerSpec; SpecError if the reference does not lead to one."""
    module_name, _, name = reference.partition(":")
    try:
        spec: object = getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"can't load the server {reference}: {error}") from error
    if not isinstance(spec, ServerSpec):
        raise SpecError(f"{reference} is no ServerSpec but a {type(spec).__name__}")
    return spec


def _reference(server: ServerPlan, replaced: Mapping[str, str]) -> str:
    if server.entry_point in replaced:
        return replaced[server.entry_point]
    group = server.kind.value
    found = {point.value for point in entry_points(group=group, name=server.entry_point)}
    if not found:
        problem = f'no package has an entry point "{server.entry_point}" in the group {group}'
        raise SpecError(f"{problem}; install newtos_py again")
    if len(found) > 1:
        problem = f'the entry point "{server.entry_point}" of {group} is ambiguous'
        raise SpecError(f"{problem}: {', '.join(sorted(found))}; uninstall one")
    return found.pop()
