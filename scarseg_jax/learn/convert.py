"""Weights trained with davidtvs/PyTorch-ENet, as variables of the same layout here."""

import re
from collections.abc import Mapping

import numpy as np

from scarseg_jax.errors import InputError

_STEM = {
    "initial_block.main_branch": "initial",
    "initial_block.batch_norm": "initial_norm",
    "initial_block.out_activation": "initial_norm/prelu",
    "transposed_conv": "classify",
}
_NORM = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "variance"),
}
# Within a bottleneck; a PReLU that follows a normalisation belongs to it here.
_PARTS = {
    "ext_conv1.0": "project",
    "ext_conv1.1": "project_norm",
    "ext_conv1.2": "project_norm/prelu",
    "ext_conv2.0": "middle",
    "ext_conv2.1": "middle_norm",
    "ext_conv2.2": "middle_norm/prelu",
    "ext_conv3.0": "expand",
    "ext_conv3.1": "expand_norm",
    "ext_conv3.2": "expand_norm/prelu",
    "out_activation": "prelu",
}
_ASYMMETRIC_PARTS = _PARTS | {
    "ext_conv2.0": "middle_tall",
    "ext_conv2.1": "middle_tall_norm",
    "ext_conv2.2": "middle_tall_norm/prelu",
    "ext_conv2.3": "middle",
    "ext_conv2.4": "middle_norm",
    "ext_conv2.5": "middle_norm/prelu",
}
_UPSAMPLING_PARTS = _PARTS | {
    "main_conv1.0": "main",
    "main_conv1.1": "main_norm",
    "ext_tconv1": "middle",
    "ext_tconv1_bnorm": "middle_norm",
    "ext_conv2.0": "expand",
    "ext_conv2.1": "expand_norm",
}
_BLOCK = re.compile(r"(downsample|regular|dilated|asymmetric|upsample)(\d)_(\d)\.(.+)")


def _path(layer: str) -> str:
    """Returns where a PyTorch layer's variables live here, slash-separated."""
    if layer in _STEM:
        return _STEM[layer]
    match = _BLOCK.fullmatch(layer)
    if match is None:
        raise KeyError(layer)
    kind, stage, index, part = match.groups()
    parts = {"asymmetric": _ASYMMETRIC_PARTS, "upsample": _UPSAMPLING_PARTS}
    # Its third stage has no downsampling block and counts from 0.
    number = int(index) + (stage == "3")
    return f"bottleneck{stage}_{number}/{parts.get(kind, _PARTS)[part]}"


def _kernel(weight: np.ndarray, *, transposed: bool) -> np.ndarray:
    """Returns (taps, in, out) from (out, in, h, w), transposed (in, out, h, w)."""
    axes = (2, 3, 0, 1) if transposed else (2, 3, 1, 0)
    kernel = weight.transpose(axes)
    return kernel.reshape(-1, *kernel.shape[2:])


def from_pytorch_enet(weights: Mapping[str, np.ndarray]) -> dict:
    """Returns the variables of `ENet(variant="pytorch_enet")`.

    Args:
      weights: PyTorch's names to arrays, for any number of channels and classes; a
        mapping of gradients works as well.

    Returns:
      {"params": ..., "batch_stats": ...} of float32 arrays.

    Raises:
      InputError: If a name is not one of that network's.
    """
    variables = {"params": {}, "batch_stats": {}}
    for name, array in weights.items():
        layer, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        try:
            path = _path(layer)
            if path.endswith("prelu"):
                collection, leaf = "params", "slope"
            elif np.ndim(array) == 4:
                collection, leaf = "params", "kernel"
            else:
                collection, leaf = _NORM[kind]
        except KeyError:
            raise InputError(
                f"weight {name!r}: not a name of PyTorch-ENet; pass its state_dict"
                " as NumPy arrays"
            ) from None
        array = np.asarray(array, np.float32)
        if leaf == "kernel":
            transposed = layer == "transposed_conv" or layer.endswith("ext_tconv1")
            array = _kernel(array, transposed=transposed)
        node = variables[collection]
        for key in path.split("/"):
            node = node.setdefault(key, {})
        node[leaf] = array
    return variables
