"""What the strongest set-ups of other libraries take, one process each.

python tests/benchmarks/peers.py train  {eager,fused,compiled} --threads=1
python tests/benchmarks/peers.py answer {eager,compiled,openvino,onnxruntime} --batch=64

Prints milliseconds a step or a call, the median of many. `train_step.py` starts these,
several at once where one network a core is what a user would do. Needs PyTorch and, for
the last two, `pip install openvino onnxruntime onnx`.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch_enet
from torch.nn import functional

BATCH = 4  # paper, section 3.1
_ORIGINAL = functional.max_pool2d, functional.max_unpool2d


def make_step(how: str):
    """Returns a call that trains one network for a step of `BATCH` images."""
    model = torch_enet.ENet().train()
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.standard_normal((BATCH, 1, 64, 64), np.float32))
    target = torch.from_numpy((rng.random((BATCH, 64, 64)) > 0.95).astype(np.int64))
    fused = how != "eager"
    if fused:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(model.parameters(), 5e-4, fused=fused)

    def loss_of(images, target):
        return torch.nn.functional.cross_entropy(model(images), target)

    loss_of = torch.compile(loss_of) if how == "compiled" else loss_of

    def step():
        adam.zero_grad()
        loss_of(images, target).backward()
        adam.step()

    return step


def _pool(x, size, return_indices=False):
    """Returns max_pool2d, with a mask of where each maximum was in place of indices.

    Converters know neither indices nor unpooling; compared with its own maximum, which
    costs next to nothing, an image tells the same, but for ties, which random images
    hardly have.
    """
    pooled = _ORIGINAL[0](x, size)
    if not return_indices:
        return pooled
    return pooled, x == functional.interpolate(pooled, scale_factor=size)


def _unpool(x, mask, size):
    """Returns max_unpool2d with `_pool`'s mask."""
    return functional.interpolate(x, scale_factor=size) * mask


def make_answer(how: str, batch: int):
    """Returns a call that asks one network about so many images."""
    if how in ("openvino", "onnxruntime"):
        functional.max_pool2d, functional.max_unpool2d = _pool, _unpool
    model = torch_enet.ENet().eval()
    rng = np.random.default_rng(0)
    array = rng.standard_normal((batch, 1, 64, 64), np.float32)
    images = torch.from_numpy(array)
    if how == "openvino":
        import openvino

        converted = openvino.convert_model(model, example_input=images)
        program = openvino.compile_model(
            converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        _check(model, images, program([array])[0])
        return lambda: program([array])
    if how == "onnxruntime":
        import io

        import onnxruntime

        stream = io.BytesIO()
        torch.onnx.export(model, (images,), stream, dynamo=False, opset_version=17)
        session = onnxruntime.InferenceSession(stream.getvalue())
        name = session.get_inputs()[0].name
        _check(model, images, session.run(None, {name: array})[0])
        return lambda: session.run(None, {name: array})
    images = images.to(memory_format=torch.channels_last)
    model = model.to(memory_format=torch.channels_last)
    run = torch.compile(model) if how == "compiled" else model

    def answer():
        with torch.inference_mode():
            return run(images)

    return answer


def _check(model, images, theirs: np.ndarray) -> None:
    """Stops when a converted network says something else than PyTorch's own pooling."""
    functional.max_pool2d, functional.max_unpool2d = _ORIGINAL
    with torch.inference_mode():
        ours = model(images).numpy()
    if not np.allclose(ours, theirs, atol=1e-3 * np.abs(ours).max()):
        raise SystemExit("the converted network says something else")


def main() -> None:
    """Times one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "answer"))
    parser.add_argument("how")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ready", type=Path, help="begin when this file is there")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    train = given.what == "train"
    call = make_step(given.how) if train else make_answer(given.how, given.batch)
    for _ in range(3):
        call()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while given.ready and not given.ready.exists():
        time.sleep(0.01)
    times, until = [], time.perf_counter() + given.seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begun))
    sys.stdout.write(f"{statistics.median(times):.4f}\n")


if __name__ == "__main__":
    main()
