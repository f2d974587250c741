"""One command for all: scarseg run|predict|serve|..., each as python -m has it."""

import importlib
import sys
from collections.abc import Sequence

from absl import app

_COMMANDS = {
    "run": ("scarseg_jax.main", "prepare, train, evaluate and report"),
    "predict": ("scarseg_jax.predict", "find scar in one image or many"),
    "serve": (
        "scarseg_jax.serve",
        "look at one patient's scar in a browser, correct it",
    ),
    "compare": ("scarseg_jax.compare", "compare finished runs"),
    "export": ("scarseg_jax.export", "make of a run a bundle that needs nothing else"),
    "simulate": ("scarseg_jax.simulate", "write a simulated patient as DICOM"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Calls the command that the first argument names, with the others."""
    name, *others = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name not in _COMMANDS:
        lines = [f"  scarseg {n:9}{does}" for n, (_, does) in _COMMANDS.items()]
        usage = "\n".join(
            ["usage: scarseg COMMAND ..., --help of each tells more", *lines]
        )
        asked = name in ("-h", "--help")
        (sys.stdout if asked else sys.stderr).write(usage + "\n")
        sys.exit(0 if asked else 2)
    module = importlib.import_module(_COMMANDS[name][0])
    sys.argv = [f"scarseg {name}", *others]  # where ml_collections looks for overrides
    if name == "compare":
        sys.exit(module.main(others))
    app.run(module.main, argv=sys.argv, flags_parser=module.parse)
