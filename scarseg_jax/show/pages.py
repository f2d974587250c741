"""What the templates of pages need: their files, and numbers in words."""

from importlib import resources

import jinja2
from markupsafe import Markup

_HERE = "scarseg_jax.show"
_NONE = "\N{EN DASH}"


def template(name: str, package: str = _HERE) -> jinja2.Template:
    """Returns a template of this folder, or of another package, by its file's name."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda v, digits=2: number(None if v is None else 100 * v, digits),
        "number": number,
        "size": size,
        "signed": lambda v, digits: number(v, digits, "+"),
        "of": lambda count, noun: f"{count} {things(count, noun)}",
        "things": lambda noun, count: things(count, noun),
        "p": lambda v: "< 0.001" if v < 0.001 else f"{v:.2g}",
    }
    return environment.from_string(part(name, package))


def part(name: str, package: str = _HERE) -> Markup:
    """Returns the text of a file of the same, to stand in a page as it is."""
    text = resources.files(package).joinpath(name)
    return Markup(text.read_text(encoding="utf-8"))


def number(value: float | None, digits: int, sign: str = "") -> str:
    """Returns a number in so many decimals, or a dash for None."""
    if value is None:
        return _NONE
    return f"{value:{sign}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def size(value: float | None) -> str:
    """Returns a number in one decimal; what is there is never none."""
    return "< 0.1" if value is not None and 0 < value < 0.05 else number(value, 1)


def things(count: int, noun: str) -> str:
    """Returns a noun, or several multiplied, in the number that a count needs."""
    times = " \N{MULTIPLICATION SIGN} "
    return noun if count == 1 else times.join(f"{one}s" for one in noun.split(times))
