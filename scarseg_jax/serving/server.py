"""Where the page is served: this machine alone, and without a log of addresses."""

import socket

import uvicorn

from scarseg_jax.errors import InputError
from scarseg_jax.serving.guard import App

HOST = "127.0.0.1"


def listening(port: int) -> socket.socket:
    """Returns a socket that nobody but this machine can reach.

    Args:
      port: 0 takes any.

    Raises:
      InputError: If it is taken, or not for everybody.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise InputError(
            f"--port={port}: cannot listen there ({error.strerror}); choose another, or"
            " 0 for any"
        ) from error


def server(app: App) -> uvicorn.Server:
    """Returns the server of an app, which logs nothing: an address opens the page."""
    config = uvicorn.Config(
        app,
        loop="asyncio",  # another one would take `signals`' own place
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    return uvicorn.Server(config)
