"""Which networks there are, and which is meant: the one place that knows them all."""

from scarseg_jax.errors import InputError
from scarseg_jax.learn.enet import LAYOUTS, ENet
from scarseg_jax.learn.fcn3d import FCN3D
from scarseg_jax.learn.modules import Network
from scarseg_jax.learn.patch import Patch
from scarseg_jax.learn.rfcn import RecurrentUNet
from scarseg_jax.learn.unet import UNet

# What `model.variant` may be, and in words.
VARIANTS = {
    **{layout: f"ENet, variant {layout}" for layout in LAYOUTS},
    "unet": "U-Net",
    "fcn3d": "3-D network",
    "rfcn": "recurrent U-Net",
    "patch": "patch network",
}


def network(variant: str, classes: int, *, slices: int = 1) -> Network:
    """Returns a new network.

    Args:
      variant: One of `VARIANTS`.
      classes: What it tells apart, the background included.
      slices: How many the images' channels hold, the middle one asked about; to 2-D
        networks these are channels like any others.

    Raises:
      InputError: If there is no such network: another version's run names it.
    """
    if variant in LAYOUTS:
        return ENet(variant=variant, classes=classes)
    match variant:
        case "unet":
            return UNet(classes=classes)
        case "fcn3d":
            return FCN3D(classes=classes, slices=slices)
        case "rfcn":
            return RecurrentUNet(classes=classes, slices=slices)
        case "patch":
            return Patch(classes=classes)
    raise InputError(
        f"model.variant is {variant!r}, not a network of this version; expected one of"
        f" {', '.join(VARIANTS)}"
    )
