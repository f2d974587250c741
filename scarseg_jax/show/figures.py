"""The report's pictures: SVG for plots, PNG for overlays on images."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from scarseg_jax.judge.agreement import BlandAltman
from scarseg_jax.run import EpochRecord

# Paper, Fig. 5: blue is the ground truth, green Protocol 2. Dashes tell them apart
# without colour.
TRUTH = {"colors": "#3b9cff", "linestyles": "dashed", "linewidths": 1.3}
PREDICTION = {"colors": "#35d04f", "linestyles": "solid", "linewidths": 1.3}
ATLAS_COLUMNS = 16
_INK = "#1f3b57"
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
    return _svg(figure)


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
        medianprops={"color": "#c8442b"},
        flierprops={"markersize": 3, "markeredgecolor": "#888"},
        widths=0.55,
    )
    axes.set(ylabel="%", ylim=(-3, 103))
    return _svg(figure)


def dice_against_size(true_px: np.ndarray, dice: np.ndarray) -> str:
    """Returns DSC against the true scar's size, slice by slice, as SVG.

    Args:
      true_px: (n,) pixels, all above 0.
      dice: (n,) fractions.
    """
    figure, (axes,) = _figure(4.6, 2.8)
    axes.plot(true_px, 100 * dice, ".", color=_INK, alpha=0.5, markersize=4)
    axes.set(xlabel="true scar, pixels of the image", ylabel="DSC, %", ylim=(-3, 103))
    if true_px.size:
        axes.set_xscale("log")
    return _svg(figure)


def overlays(
    crops: np.ndarray, scar: np.ndarray, predicted: np.ndarray, titles: Sequence[str]
) -> bytes:
    """Returns a sheet of slices with both contours, as PNG.

    Args:
      crops: (n, H, W) intensities.
      scar: (n, H, W) bool truth.
      predicted: (n, H, W) bool.
      titles: One a slice.
    """
    columns = min(len(crops), 5)
    rows = -(-len(crops) // columns)
    figure = Figure(figsize=(1.75 * columns, 1.95 * rows), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    for number, title in enumerate(titles):
        axes = figure.add_subplot(rows, columns, number + 1)
        low, high = np.percentile(crops[number], (1, 99.5))
        axes.imshow(crops[number], cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
        for mask, style in (
            (scar[number], TRUTH),
            (predicted[number], PREDICTION),
        ):
            if mask.any():
                axes.contour(mask, levels=[0.5], **style)
        axes.set_title(title, fontsize=8, pad=2)
        axes.set_axis_off()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def atlas(tiles: np.ndarray) -> bytes:
    """Returns all slices side by side, `ATLAS_COLUMNS` in a row, as a grey PNG.

    Args:
      tiles: (n, H, W) bool masks, or intensities, of which each slice's own range
        (1st to 99.5th percentile) is shown.
    """
    n, height, width = tiles.shape
    if tiles.dtype == bool:
        grey = tiles * np.uint8(255)
    else:
        low, high = np.percentile(tiles, (1, 99.5), axis=(1, 2), keepdims=True)
        share = (tiles - low) / np.maximum(high - low, 1e-6)
        grey = np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
    rows = -(-n // ATLAS_COLUMNS)
    sheet = np.zeros((rows * ATLAS_COLUMNS, height, width), np.uint8)
    sheet[:n] = grey
    sheet = sheet.reshape(rows, ATLAS_COLUMNS, height, width).swapaxes(1, 2)
    stream = io.BytesIO()
    picture = Image.fromarray(sheet.reshape(rows * height, ATLAS_COLUMNS * width))
    picture.convert("1" if tiles.dtype == bool else "L").save(
        stream, format="png", optimize=True
    )
    return stream.getvalue()


def bland_altman_plot(
    true: np.ndarray, called: np.ndarray, agreement: BlandAltman
) -> str:
    """Returns differences against means of scar sizes, with the limits, as SVG.

    Args:
      true: (n,) per cent of the myocardium.
      called: (n,) per cent of the myocardium.
      agreement: Their limits.
    """
    figure, (axes,) = _figure(4.6, 2.8)
    axes.plot((true + called) / 2, called - true, ".", color=_INK, alpha=0.6)
    for level, style in (
        (agreement.bias, "-"),
        (agreement.lower, "--"),
        (agreement.upper, "--"),
    ):
        if level is not None:
            axes.axhline(level, color="#c8442b", linestyle=style, linewidth=1)
    axes.set(xlabel="mean of true and called, % of LV", ylabel="called - true, %")
    return _svg(figure)


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


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    with rc_context(_STYLE):
        # No metadata: it would name the day and addresses on the web.
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    return text[text.index("<svg") :]
