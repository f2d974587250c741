"""The peer: ENet in PyTorch, in the layout of davidtvs/PyTorch-ENet.

Parameters have that implementation's names, so that weights go to and fro through
`scarseg_jax.convert`; checked against ../shared/reference by `check` below.

python tests/benchmarks/torch_enet.py REFERENCE.npz
"""

import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional

ENCODER = "prelu"


def _activation(kind: str) -> nn.Module:
    return nn.PReLU() if kind == ENCODER else nn.ReLU()


def _unit(conv: nn.Module, channels: int, kind: str | None) -> list[nn.Module]:
    units = [conv, nn.BatchNorm2d(channels)]
    return units if kind is None else [*units, _activation(kind)]


def _conv(inputs: int, outputs: int, size=1, **options) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, bias=False, **options)


class Initial(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.main_branch = _conv(channels, 13, 3, stride=2, padding=1)
        self.batch_norm = nn.BatchNorm2d(13 + channels)
        self.out_activation = nn.PReLU()

    def forward(self, x):
        x = torch.cat((self.main_branch(x), functional.max_pool2d(x, 2)), dim=1)
        return self.out_activation(self.batch_norm(x))


class Regular(nn.Module):
    """Regular, dilated (dilation > 1) or asymmetric (dilation 0) bottleneck."""

    def __init__(self, channels: int, dilation: int, rate: float, kind: str):
        super().__init__()
        inner = channels // 4
        self.ext_conv1 = nn.Sequential(*_unit(_conv(channels, inner), inner, kind))
        if dilation:
            conv = _conv(inner, inner, 3, padding=dilation, dilation=dilation)
            middle = _unit(conv, inner, kind)
        else:
            tall = _conv(inner, inner, (5, 1), padding=(2, 0))
            wide = _conv(inner, inner, (1, 5), padding=(0, 2))
            middle = _unit(tall, inner, kind) + _unit(wide, inner, kind)
        self.ext_conv2 = nn.Sequential(*middle)
        self.ext_conv3 = nn.Sequential(*_unit(_conv(inner, channels), channels, kind))
        self.drop = nn.Dropout2d(rate)
        self.out_activation = _activation(kind)

    def forward(self, x):
        y = self.ext_conv3(self.ext_conv2(self.ext_conv1(x)))
        return self.out_activation(x + self.drop(y))


class Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, rate: float):
        super().__init__()
        inner, self.more = inputs // 4, outputs - inputs
        conv1 = _conv(inputs, inner, 2, stride=2)
        conv2 = _conv(inner, inner, 3, padding=1)
        self.ext_conv1 = nn.Sequential(*_unit(conv1, inner, ENCODER))
        self.ext_conv2 = nn.Sequential(*_unit(conv2, inner, ENCODER))
        self.ext_conv3 = nn.Sequential(*_unit(_conv(inner, outputs), outputs, ENCODER))
        self.drop = nn.Dropout2d(rate)
        self.out_activation = nn.PReLU()

    def forward(self, x):
        main, indices = functional.max_pool2d(x, 2, return_indices=True)
        main = functional.pad(main, (0, 0, 0, 0, 0, self.more))
        y = self.ext_conv3(self.ext_conv2(self.ext_conv1(x)))
        return self.out_activation(main + self.drop(y)), indices


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, rate: float):
        super().__init__()
        inner = inputs // 4
        self.main_conv1 = nn.Sequential(*_unit(_conv(inputs, outputs), outputs, None))
        self.ext_conv1 = nn.Sequential(*_unit(_conv(inputs, inner), inner, "relu"))
        self.ext_tconv1 = nn.ConvTranspose2d(inner, inner, 2, stride=2, bias=False)
        self.ext_tconv1_bnorm = nn.BatchNorm2d(inner)
        self.ext_conv2 = nn.Sequential(*_unit(_conv(inner, outputs), outputs, None))
        self.drop = nn.Dropout2d(rate)

    def forward(self, x, indices):
        main = functional.max_unpool2d(self.main_conv1(x), indices, 2)
        y = self.ext_tconv1_bnorm(self.ext_tconv1(self.ext_conv1(x)))
        y = self.drop(self.ext_conv2(functional.relu(y)))
        return functional.relu(main + y)


class ENet(nn.Module):
    """(B, C, H, W) images to (B, classes, H, W) logits."""

    def __init__(self, channels: int = 1, classes: int = 2, rate: float = 0.1):
        super().__init__()
        self.initial_block = Initial(channels)
        self.downsample1_0 = Down(13 + channels, 64, rate / 10)
        self.context = []
        for i in range(1, 5):
            self._add(f"regular1_{i}", Regular(64, 1, rate / 10, ENCODER))
        self.downsample2_0 = Down(64, 128, rate)
        names = ("regular", "dilated", "asymmetric", "dilated") * 2
        for stage, first in ((2, 1), (3, 0)):
            for i, (name, d) in enumerate(
                zip(names, (1, 2, 0, 4, 1, 8, 0, 16), strict=True), start=first
            ):
                self._add(f"{name}{stage}_{i}", Regular(128, d, rate, ENCODER))
        self.upsample4_0 = Up(128, 64, rate)
        self.regular4_1 = Regular(64, 1, rate, "relu")
        self.regular4_2 = Regular(64, 1, rate, "relu")
        self.upsample5_0 = Up(64, 13 + channels, rate)
        self.regular5_1 = Regular(13 + channels, 1, rate, "relu")
        self.transposed_conv = nn.ConvTranspose2d(
            13 + channels, classes, 3, 2, padding=1, output_padding=1, bias=False
        )

    def _add(self, name: str, block: Regular) -> None:
        self.add_module(name, block)
        self.context.append(name)

    def forward(self, x):
        x, first = self.downsample1_0(self.initial_block(x))
        for name in self.context[:4]:
            x = getattr(self, name)(x)
        x, second = self.downsample2_0(x)
        for name in self.context[4:]:
            x = getattr(self, name)(x)
        x = self.regular4_2(self.regular4_1(self.upsample4_0(x, second)))
        return self.transposed_conv(self.regular5_1(self.upsample5_0(x, first)))


def check(reference: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns the largest relative differences from the reference's arrays."""
    model = ENet(rate=0.0)
    weights = {
        name.removeprefix("param/"): torch.from_numpy(array)
        for name, array in reference.items()
        if name.startswith("param/")
    }
    model.load_state_dict(weights, strict=False)
    images = torch.from_numpy(reference["input"])
    differences = {}
    with torch.no_grad():
        logits = model.eval()(images).numpy()
    differences["logits_eval"] = _relative(logits, reference["logits_eval"])
    logits = model.train()(images)
    target = torch.from_numpy(reference["target"]).long()
    functional.cross_entropy(logits, target).backward()
    differences["logits_train"] = _relative(
        logits.detach().numpy(), reference["logits_train"]
    )
    squares = [
        (((p.grad.numpy() - reference[f"grad/{n}"]) ** 2).sum(), (p.grad**2).sum())
        for n, p in model.named_parameters()
    ]
    wrong, whole = np.sum(np.array(squares, np.float64), axis=0)
    differences["gradient"] = float(np.sqrt(wrong / whole))
    return differences


def _relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


if __name__ == "__main__":
    with np.load(sys.argv[1]) as archive:
        found = check({name: archive[name] for name in archive.files})
    sys.stdout.write(f"{found}\n")
    sys.exit(max(found.values()) > 1e-4)
