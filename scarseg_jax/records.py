"""Typed records to JSON and back; what is odd in a file is one clear line."""

import dataclasses
import json
from typing import Any, TypeVar

import pydantic

from scarseg_jax.errors import InputError

Record = TypeVar("Record")


def to_json(record: Any) -> str:
    """Returns a dataclass, and those in it, as indented JSON."""
    return json.dumps(dataclasses.asdict(record), indent=1)


def parse(kind: type[Record], text: str | bytes, where: str, mend: str) -> Record:
    """Returns the record that JSON holds, every value of the type it is declared to be.

    Args:
      kind: A dataclass; its fields may be dataclasses, tuples, dicts and so on.
      text: JSON.
      where: The file and what is the matter with it, for the message.
      mend: What the user can do, for the message.

    Raises:
      InputError: If it is not JSON, a value is missing, not known or of another type,
        or a record refuses its values: then with its own words.
    """
    try:
        adapter = pydantic.TypeAdapter(kind)
        return adapter.validate_json(text, strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        if isinstance(own := first.get("ctx", {}).get("error"), InputError):
            raise own from None
        name = ".".join(map(str, first["loc"]))
        what = f"{name}: {first['msg']}" if name else first["msg"]
        raise InputError(f"{where} ({what}); {mend}") from None
