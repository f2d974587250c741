"""Who may ask: nobody but a page of this very server whose address has the token.

A page of another site cannot know the token; one whose name was turned to 127.0.0.1 (DNS
rebinding) says its own name as the host. What is answered may load nothing from
elsewhere, stand in no other page, and is kept in no cache.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import PlainTextResponse

_log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:;"
        " connect-src 'self'; form-action 'none'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def guarded(app: App, *, token: str, port: int) -> App:
    """Returns an app behind /TOKEN/, which it does not see itself.

    Args:
      app: ASGI.
      token: The secret.
      port: Where it is served.
    """
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]

    async def asked(scope: Scope, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        given = {name.decode("latin-1"): value for name, value in scope["headers"]}
        host = given.get("host", b"").decode("latin-1")
        origin = given.get("origin", f"http://{host}".encode()).decode("latin-1")
        _, first, *rest = [*scope["path"].split("/", 2), ""]
        # As bytes: of text, only ASCII can be compared in constant time.
        known = secrets.compare_digest(first.encode(), token.encode())

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        if host not in hosts or origin != f"http://{host}":
            refusal = "This page answers on 127.0.0.1 alone."
        elif not known or not scope["path"].startswith(f"/{token}/"):
            refusal = "The address is not whole; take the one in the terminal."
        else:
            scope = {**scope, "path": f"/{rest[0]}", "raw_path": None}
            await _told(app, scope, receive, answer)
            return
        await PlainTextResponse(f"{refusal}\n", 403)(scope, receive, answer)

    return asked


async def _told(app: App, scope: Scope, receive: Any, send: Send) -> None:
    """Answers; of an error the log has the kind and the place, and no value of anybody."""
    try:
        await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001 (whatever it is, it may quote a file)
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_name}:{place.tb_lineno}" if place else "?"
        _log.error("an answer failed: %s in %s", type(error).__name__, where)
