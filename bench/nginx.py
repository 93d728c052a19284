"""nginx with a worker on each core, serving files of given sizes, a connection for each request."""

from collections.abc import Sequence

from newtos_py.bench.lighttpd import PORT, Site
from newtos_py.bench.program import ServerProgram
from newtos_py.bench.sides import Side

# More than a worker ever has at once, on either side of the comparison.
_CONFIG = """\
daemon off;
worker_processes {workers};
worker_cpu_affinity {masks};
pid {root}/{name}.pid;
error_log {root}/{name}.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 0;
{temporary}
    server {{
        listen {port} backlog=1024{how};
        root {root}/files;
    }}
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx(ServerProgram):
    """nginx on one side; a context manager."""

    def __init__(self, site: Site, side: Side, cores: Sequence[int], *, reuseport: bool) -> None:
        """`reuseport`: each worker has a listening socket of its own (SO_REUSEPORT)."""
        site.root.chmod(0o711)  # its workers are another user's
        name = f"nginx-{side.name.replace(', ', '-')}"
        config = site.root / f"{name}.conf"
        paths = (f"    {kind}_temp_path {site.root}/{name}.{kind};" for kind in _TEMPORARY)
        config.write_text(
            _CONFIG.format(
                workers=len(cores),
                masks=" ".join(f"{1 << core:b}" for core in cores),
                root=site.root,
                name=name,
                temporary="\n".join(paths),
                port=PORT,
                how=" reuseport" if reuseport else "",
            )
        )
        super().__init__(side, PORT, ["nginx", "-e", "stderr", "-c", str(config)])
