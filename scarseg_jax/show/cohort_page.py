"""One self-contained HTML page about many studies: failures first, then their figures."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from scarseg_jax import files
from scarseg_jax.measure.mass import DENSITY_G_PER_ML
from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.show.pages import part, template


@dataclasses.dataclass(frozen=True)
class Row:
    """One study's line.

    Attributes:
      name: Of the study.
      problem: Why it could not be used; then all else is None.
      numbers: Of its scar.
      page: Its own page, from the folder of this one.
      slices: How many it has.
      unseen: Whether no network that answered was trained or chosen with it.
      masked: Whether its mask is written, which NIfTI cannot hold of uneven slices.
      warnings: How many its own page has.
    """

    name: str
    problem: str | None = None
    numbers: Numbers | None = None
    page: str | None = None
    slices: int | None = None
    unseen: bool | None = None
    masked: bool | None = None
    warnings: int | None = None


def write_cohort_page(
    output: Path, rows: Sequence[Row], made: Mapping[str, str]
) -> None:
    """Writes the page.

    Args:
      output: The HTML file.
      rows: Of the studies.
      made: What they were made with, in words, by name.
    """
    broken = [row for row in rows if row.problem is not None]
    measured = [row for row in rows if row.numbers is not None]
    page = template("cohort_page.html.jinja").render(
        style=part("run_report.css") + part("cohort_page.css"),
        script=part("sortable.js"),
        broken=broken,
        measured=measured,
        with_scar=sum(bool(r.numbers and r.numbers.slices_with_scar) for r in measured),
        seen=[row for row in measured if not row.unseen],
        density=DENSITY_G_PER_ML,
        made=made,
    )
    files.write_text(output, page)
