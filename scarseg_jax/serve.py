r"""Serves a page on this machine to look at one patient's scar, correct it and keep it.

python -m scarseg_jax.serve
python -m scarseg_jax.serve --checkpoint=runs/protocol2 --browser

The page is at 127.0.0.1 alone, at an address that is printed and that nobody else can
guess; it asks nothing of any other machine. Needs scarseg_jax[serve]. What is sent to it
is kept until it is read, in a folder that only you can read and that goes with the
program; of DICOM the headers stay in memory, for a Segmentation that is asked for. Ctrl-C ends it, and with it all that was not downloaded.
"""

import secrets
import sys
import webbrowser
from pathlib import Path

from absl import app, flags

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.segment.model import IN_THE_BOX, load_model
from scarseg_jax.terminal import exit_code, only_flags, parse, start_jax

_EXTRA = ("starlette", "uvicorn")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Working directory of a finished run, its checkpoint or a bundle, or"
    " simulated, which learned on nobody's images; default: the"
    " networks in the box.",
)
_PORT = flags.DEFINE_integer(
    "port", 0, "Of the page; 0: any.", lower_bound=0, upper_bound=65535
)
_BROWSER = flags.DEFINE_bool("browser", False, "Open the page in the browser.")


def main(argv: list[str]) -> int:
    """Serves until a signal comes; returns the exit code."""
    return exit_code(lambda: _serve(argv), remind_s=None)


def _serve(argv: list[str]) -> None:
    only_flags(argv)
    try:
        from scarseg_jax.serving.app import make_app
        from scarseg_jax.serving.server import HOST, listening, server
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise InputError(
            f"serve needs {error.name}, which is not installed; install it with"
            ' pip install "scarseg_jax[serve]"'
        ) from error
    with (
        listening(_PORT.value) as listener,
        files.private_folder("scarseg_") as folder,
    ):
        start_jax()
        model = load_model(_CHECKPOINT.value or IN_THE_BOX)
        port, token = listener.getsockname()[1], secrets.token_urlsafe(32)
        address = f"http://{HOST}:{port}/{token}/"
        sys.stdout.write(
            f"{address}\nFor research. Not a medical device. Ctrl-C ends.\n"
        )
        sys.stdout.flush()
        if _BROWSER.value:
            webbrowser.open(_opener(folder, address).as_uri())
        page = make_app(model, folder, token=token, port=port)
        server(page).run(sockets=[listener])


def _opener(folder: Path, address: str) -> Path:
    """Returns a file that goes on to an address, which no list of programs then shows."""
    file = folder / "open.html"
    file.write_text(
        f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={address}">',
        encoding="utf-8",
    )
    return file


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
