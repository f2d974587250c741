"""Results to files and back: tables as CSV, figures as JSON, pictures as NPZ.

Nobody else reads these files; who compares runs or draws pages takes `Results`.
"""

import contextlib
import csv
import dataclasses
import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np
import pydantic

from scarseg_jax import files, records
from scarseg_jax.errors import InputError
from scarseg_jax.judge.results import (
    NativePictures,
    PatientRow,
    Pictures,
    Results,
    SliceRow,
    Summary,
)
from scarseg_jax.run import EpochRecord

Row = TypeVar("Row")
Arrays = TypeVar("Arrays")
_DAMAGED = "damaged, or made by another version"
_MEND = "make that run's results again"
# Before the names of a nested record's columns.
_PREFIX = {"native": "", "crop": "crop_", "size": ""}
_ROWS = {"slices": SliceRow, "patients": PatientRow, "history": EpochRecord}


def write(directory: Path, results: Results) -> None:
    """Writes the rows as CSV, the pictures as NPZ and the figures as summary.json.

    And the sums of all of these, so that what was edited by hand, or by chance, is not
    read back.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, kind in _ROWS.items():
        if rows := getattr(results, name):
            files.write_text(directory / f"{name}.csv", to_csv(kind, rows))
    _write_arrays(directory / "predictions.npz", results.pictures)
    _write_arrays(directory / "native.npz", results.native_pictures)
    files.write_text(directory / "summary.json", records.to_json(results.summary))
    files.write_sums(directory)


def read(workdir: Path) -> Results:
    """Returns the results of a run from its working directory.

    Raises:
      InputError: If a file is missing, damaged, or edited.
    """
    directory = workdir / "results"
    summary = read_summary(directory / "summary.json")
    if path := files.changed(directory):
        with _damage_reported(path):
            raise ValueError("its SHA-256 differs")
    history = ()
    if (directory / "history.csv").is_file():
        history = read_rows(directory / "history.csv", EpochRecord)
    return Results(
        summary=summary,
        slices=read_rows(directory / "slices.csv", SliceRow),
        patients=read_rows(directory / "patients.csv", PatientRow),
        pictures=read_pictures(directory / "predictions.npz"),
        native_pictures=read_native_pictures(directory / "native.npz"),
        history=history,
    )


def read_summary(path: Path) -> Summary:
    """Returns what summary.json holds.

    Raises:
      InputError: If the file is missing or damaged.
    """
    with _damage_reported(path):
        text = path.read_bytes()
    mend = f"{_MEND}: --mode={_part(path)}"
    return records.parse(Summary, text, f"{path}: {_DAMAGED}", mend)


def read_pictures(path: Path) -> Pictures:
    """Returns what predictions.npz holds.

    Raises:
      InputError: If the file is missing or damaged.
    """
    return _read_arrays(path, Pictures)


def read_native_pictures(path: Path) -> NativePictures:
    """Returns what native.npz holds.

    Raises:
      InputError: If the file is missing or damaged.
    """
    return _read_arrays(path, NativePictures)


def to_csv(kind: type, rows: Sequence[Any]) -> str:
    """Returns rows as text, a column for each value, empty cells for None."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_columns(kind))
    for row in rows:
        writer.writerow("" if v is None else v for v in _values(row))
    return stream.getvalue()


def read_rows(path: Path, kind: type[Row]) -> tuple[Row, ...]:
    """Returns the rows that `to_csv` made a file of.

    Raises:
      InputError: If the file is missing or damaged.
    """
    with _damage_reported(path), path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream, strict=True)
        if list(reader.fieldnames or ()) != _columns(kind):
            raise ValueError("other columns than expected")
        rows = []
        for cells in reader:
            if None in cells or None in cells.values():
                raise ValueError("a row is too short or too long")
            rows.append(_nested(kind, {k: v or None for k, v in cells.items()}))
        if not rows:
            raise ValueError("no rows")
        adapter = pydantic.TypeAdapter(kind)
        return tuple(adapter.validate_python(row) for row in rows)


def row_floats(rows: Sequence[Any], *path: str) -> np.ndarray:
    """Returns (n,) float64 values of rows, NaN for None.

    Args:
      rows: Such as `Results.slices`.
      path: Of a value in a row, such as ("native", "dsc").
    """
    values = rows
    for name in path:
        values = [getattr(value, name) for value in values]
    return np.array([math.nan if v is None else v for v in values], float)


def _write_arrays(path: Path, record: Any) -> None:
    stream = io.BytesIO()
    kept = {k: v for k, v in vars(record).items() if v is not None}
    np.savez_compressed(stream, **kept)
    files.write_bytes(path, stream.getvalue())


def _read_arrays(path: Path, kind: type[Arrays]) -> Arrays:
    with _damage_reported(path), np.load(path, allow_pickle=False) as archive:
        try:
            return kind(**{name: archive[name] for name in archive.files})
        except TypeError as error:
            raise ValueError(error) from None


def _columns(kind: type, prefix: str = "") -> list[str]:
    names = []
    for name, hint in get_type_hints(kind).items():
        nested = name in _PREFIX
        names += _columns(hint, _PREFIX[name]) if nested else [prefix + name]
    return names


def _values(row: Any) -> list:
    values = []
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        values += _values(value) if dataclasses.is_dataclass(value) else [value]
    return values


def _nested(kind: type, cells: Mapping[str, str | None], prefix: str = "") -> dict:
    """Returns a row's cells in the shape of its record."""
    return {
        name: _nested(hint, cells, _PREFIX[name])
        if name in _PREFIX
        else cells[prefix + name]
        for name, hint in get_type_hints(kind).items()
    }


@contextlib.contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; finish that run first (--mode=all, or"
            f" {_part(path)})"
        )
    try:
        yield
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InputError(_damaged(path, what)) from error
    except (OSError, ValueError, KeyError, csv.Error, zipfile.BadZipFile) as error:
        raise InputError(_damaged(path, " ".join(str(error).split()))) from error


def _damaged(path: Path, what: str) -> str:
    return f"{path}: {_DAMAGED} ({what}); {_MEND}: --mode={_part(path)}"


def _part(path: Path) -> str:
    """Returns the part of a job that makes a file of results."""
    return "baselines" if "baselines" in path.parts[-4:-2] else "evaluate"
