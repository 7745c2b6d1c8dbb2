"""Listens on the given address, prints it, and serves until it is interrupted."""

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress

import typer
import uvicorn

from worker.core.errors import BadSettings
from worker.experiment.page.access import LOOPBACK
from worker.experiment.page.app import create_app
from worker.experiment.page.connections import Connection
from worker.experiment.page.ports import FigureSource
from worker.experiment.webhook.deliveries import Outbound
from worker.system import all_addresses

GRACE_S = 2  # a page that is being read when it ends
MAX_HEAD_BYTES = 16 << 10  # of a request's line and headers


def serve(
    source: FigureSource,
    *,
    host: str,
    port: int,
    token: str | None = None,
    anonymous: bool = False,
    deliveries: Outbound | None = None,
    say: Callable[[str], object] = typer.echo,
) -> None:
    """Serve until SIGINT or SIGTERM; port 0 takes a free one.

    Raises `BadSettings` if the address cannot be used, and for one that others reach without a token, unless it is to
    be `anonymous`.
    `source` is asked from the calling thread alone.  `say` is given one line, once the address is listened on.
    """
    if token is None and not anonymous and not is_loopback(host):
        raise BadSettings(
            f"--host {host}: whoever reaches this address could read the page; want --token-file, or --allow-anonymous"
        )
    # uvicorn hands on the signal that ended it, and one may come before uvicorn listens for it.
    with listen(host, port) as listening, suppress(KeyboardInterrupt):
        say(f"Experiments at {address(listening)} (read only{', with a token' if token else ''}; Ctrl-C stops it)")
        hosts = LOOPBACK if is_loopback(host) else None
        server(source, token=token, hosts=hosts, deliveries=deliveries).run(sockets=[listening])


def server(
    source: FigureSource,
    *,
    token: str | None = None,
    hosts: frozenset[str] | None = LOOPBACK,
    deliveries: Outbound | None = None,
) -> uvicorn.Server:
    """Return a server that logs nothing but its own failures."""
    app = create_app(source, token=token, hosts=hosts, deliveries=deliveries)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            proxy_headers=False,  # a local client could name another address at each try of a token
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """Bind the address, before it is printed; `::` is both IPv6 and IPv4, or IPv4 alone where there is no IPv6."""
    address = host.strip("[]")
    try:
        try:
            return _bound(address, port)
        except OSError as error:
            other = all_addresses.instead(address, error)
            if other is None:
                raise
            return _bound(other, port)
    except (OSError, OverflowError) as error:
        raise BadSettings(f"{host}:{port}: {error}; choose another with --host and --port") from error


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == all_addresses.ALL and socket.has_dualstack_ipv6()
    return socket.create_server((address, port), family=family, dualstack_ipv6=both)


def address(listening: socket.socket) -> str:
    """Return the URL of the page."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
