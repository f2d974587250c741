"""The report's plots, as SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scarseg_jax.judge.agreement import BlandAltman
from scarseg_jax.run import EpochRecord

_INK = "#1f3b57"
_LIMIT = "#b3321c"
_STYLE: Any = {"svg.hashsalt": "scarseg_jax", "svg.fonttype": "none", "font.size": 9}


def training_curves(history: Sequence[EpochRecord]) -> str:
    """Returns loss and validation DSC over epochs, one line a member, as SVG.

    Args:
      history: One record for each member and epoch.
    """
    figure, (loss, dice) = _figure(8, 2.8, columns=2)
    members: dict[tuple, list] = {}
    for row in history:
        members.setdefault((row.fold, row.seed), []).append(row)
    for rows in members.values():
        epochs = [row.epoch for row in rows]
        values = [row.loss for row in rows]
        loss.plot(epochs, values, color=_INK, alpha=0.5, linewidth=1)
        values = [100 * row.validation_dsc for row in rows]
        dice.plot(epochs, values, color=_INK, alpha=0.5, linewidth=1)
    loss.set(xlabel="epoch", ylabel="training loss", yscale="log")
    dice.set(xlabel="epoch", ylabel="validation DSC, %", ylim=(0, 100))
    return svg(figure)


def box_plots(metrics: Mapping[str, np.ndarray]) -> str:
    """Returns box plots of per cent values, one box a metric, as SVG.

    Args:
      metrics: Names to fractions; NaN is left out.
    """
    figure, (axes,) = _figure(4.6, 2.8)
    defined = {name: 100 * v[~np.isnan(v)] for name, v in metrics.items()}
    names = [
        f"{name}\n(n = {values.size})" if values.size else f"{name}\n(none)"
        for name, values in defined.items()
    ]
    axes.boxplot(
        [values if values.size else [np.nan] for values in defined.values()],
        tick_labels=names,
        medianprops={"color": _LIMIT},
        flierprops={"markersize": 3, "markeredgecolor": "#888"},
        widths=0.55,
    )
    axes.set(ylabel="%", ylim=(-3, 103))
    return svg(figure)


def dice_against_size(true_mm2: np.ndarray, dice: np.ndarray) -> str:
    """Returns DSC against the true scar's size, slice by slice, as SVG.

    Args:
      true_mm2: (n,) areas, all above 0.
      dice: (n,) fractions.
    """
    figure, (axes,) = _figure(4.6, 2.8)
    axes.plot(true_mm2, 100 * dice, ".", color=_INK, alpha=0.5, markersize=4)
    axes.set(xlabel="true scar of the slice, mm²", ylabel="DSC, %", ylim=(-3, 103))
    if true_mm2.size:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    return svg(figure)


def bland_altman_plot(
    true: np.ndarray, called: np.ndarray, agreement: BlandAltman, unit: str
) -> str:
    """Returns differences against means of scar sizes, with the limits, as SVG.

    Args:
      true: (n,) sizes.
      called: (n,) sizes.
      agreement: Their limits.
      unit: Of all.
    """
    figure, (axes,) = _figure(4.6, 2.8)
    axes.axhline(0, color="#9aa5b1", linewidth=0.8)
    axes.plot((true + called) / 2, called - true, ".", color=_INK, alpha=0.6)
    for name, level, interval, style in (
        ("+1.96 SD", agreement.upper, agreement.upper_ci, "--"),
        ("bias", agreement.bias, agreement.bias_ci, "-"),
        ("\N{MINUS SIGN}1.96 SD", agreement.lower, agreement.lower_ci, "--"),
    ):
        if level is None:
            continue
        axes.axhline(level, color=_LIMIT, linestyle=style, linewidth=1)
        if interval is not None:
            axes.axhspan(*interval, color=_LIMIT, alpha=0.1, linewidth=0)
        axes.annotate(
            f"{name}\n{level:+.1f}",
            (1.01, level),
            xycoords=("axes fraction", "data"),
            color=_LIMIT,
            fontsize=7.5,
            va="center",
            annotation_clip=False,
        )
    axes.set(
        xlabel=f"mean of true and called scar, {unit}",
        ylabel=f"called \N{MINUS SIGN} true, {unit}",
    )
    return svg(figure)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes: list[Axes] = [
        figure.add_subplot(1, columns, number + 1) for number in range(columns)
    ]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e4e8ec", linewidth=0.7)
        one.set_axisbelow(True)
    return figure, axes


def svg(figure: Figure) -> str:
    """Returns a figure as SVG to put into a page, the same whenever it is drawn."""
    stream = io.StringIO()
    with rc_context(_STYLE):
        # No metadata: it would name the day and addresses on the web.
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    return text[text.index("<svg") :]
