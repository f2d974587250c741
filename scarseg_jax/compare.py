"""Runs on the same patients, compared as the paper compares its protocols.

python -m scarseg_jax.compare DIR1 DIR2 [DIR3 ...]

Each of the others is compared with the first; with several, p is corrected by Holm.
A baseline is a run too: WORKDIR/baselines/METHOD.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.judge import tables
from scarseg_jax.judge.paired import Comparison, Run, compare
from scarseg_jax.show import text


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares runs; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scarseg_jax.compare",
        description="Wilcoxon signed-rank test on the DSC of runs on the same slices,"
        " over slices and over patients with scar, with Holm's correction for several.",
        epilog="Exit code 2 means that the runs cannot be compared.",
    )
    parser.add_argument("first", type=Path, help="--workdir of a finished run")
    parser.add_argument(
        "others", type=Path, nargs="+", help="of others, or WORKDIR/baselines/METHOD"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE.json", help="also write the result there"
    )
    given = parser.parse_args(arguments)
    try:
        if given.output:
            _check_ours(given.output)
        first, *others = (
            Run(path, tables.read(path)) for path in (given.first, *given.others)
        )
        found = compare(first, others)
        if given.output:
            _save(given.output, first, others, found)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(text.comparisons(first, others, found) + "\n")
    return 0


def _check_ours(path: Path) -> None:
    """Refuses to replace what is no result of a comparison."""
    if not path.is_file():
        return
    try:
        ours = all(
            {"first", "second"} <= set(row) for row in json.loads(path.read_bytes())
        )
    except (ValueError, TypeError):
        ours = False
    if not ours:
        raise InputError(
            f"--output={path} is there and is not the result of a comparison; choose"
            " another name, or move that file away"
        )


def _save(
    path: Path, first: Run, others: Sequence[Run], found: Sequence[Comparison]
) -> None:
    rows = [
        {
            "first": str(first.directory),
            "second": str(other.directory),
            **dataclasses.asdict(one),
        }
        for other, one in zip(others, found, strict=True)
    ]
    try:
        files.write_text(path, json.dumps(rows, indent=1))
    except OSError as error:
        raise InputError(
            f"--output={path}: cannot write there ({error.strerror}); choose a file in"
            " an existing folder"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
