"""Times training, inference and the crop, beside a PyTorch ENet of the same layout.

python tests/benchmarks/train_step.py --members=4
python tests/benchmarks/train_step.py --members=1,2,4,8,30

Prints a table and one JSON line a figure. Figures are medians; JAX and PyTorch run in
turns, round by round, so that a machine whose speed drifts slows both. Each figure of
arithmetic has its floor beside it: its FLOPs at the rate of a large matrix product.
PyTorch is needed for the comparison only: `pip install torch` (a CPU build will do);
without it, or with --no-torch, its rows are left out.
"""

import argparse
import functools
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from scarseg_jax.learn import ensemble, train
from scarseg_jax.learn.enet import ENet
from scarseg_jax.learn.modules import Network
from scarseg_jax.prepare.hough import find_left_ventricle
from scarseg_jax.readers import phantom

BATCH = 4  # paper, section 3.1
# Of one 1 x 64 x 64 image forward; a training step is three of them for each image.
FLOPS_PER_IMAGE = 57.06e6
STEPS = 20  # in one call
HERE = Path(__file__).parent


def median_ms(call: Callable[[], object], rounds: int = 5) -> float:
    """Returns the median time of a call in milliseconds, after one to warm up."""
    call()
    return statistics.median(once_ms(call) for _ in range(rounds))


def once_ms(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(call())
    return 1000 * (time.perf_counter() - begun)


def product_rate(devices: int) -> float:
    """Returns GFLOP/s of 512 x 512 matrix products, on so many devices at once."""
    size, count = 512, 20
    mesh = ensemble.member_mesh(devices)
    matrices = np.ones((devices, size, size), np.float32)

    def repeat(matrix):
        return jax.lax.fori_loop(0, count, lambda _, m: m @ matrix / size, matrix)

    run = ensemble.map_members(repeat, mesh, shared=(False,))
    put = ensemble.put_members(matrices, mesh)
    return devices * count * 2 * size**3 / median_ms(lambda: run(put)) / 1e6


def make_data(count: int = 64, channels: int = 1) -> train.Data:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((count, 64, 64, channels)).astype(np.float32)
    return train.Data(image, (image[..., :1] > 2).astype(np.float32))


def lower_steps(members: int, model: Network, channels: int = 1):
    """Returns the lowered program of STEPS steps of so many members, and its inputs."""
    optimizer, data = train.make_optimizer(2e-4), make_data(channels=channels)
    unpack = train.make_unpack(model, data.image[:1])
    step = train.make_train_step(model, optimizer, unpack, (1.0, 1.0))

    def steps(state, table, data):
        def body(state, codes):
            return step(state, train.take_batch(data, codes), jnp.float32(1e-4))

        return jax.lax.scan(body, state, table)

    def init(key, image):
        wrapped = jax.random.wrap_key_data(key)
        return train.init_state(model, optimizer, image, wrapped)

    mesh = ensemble.member_mesh(members)
    keys = np.arange(2 * members, dtype=np.uint32).reshape(members, 2)
    state = ensemble.map_members(init, mesh, shared=(False, True))(
        ensemble.put_members(keys, mesh), ensemble.put_shared(data.image[:1], mesh)
    )
    rng = np.random.default_rng(1)
    table = rng.integers(0, 8 * len(data.image), (members, STEPS, BATCH), np.int32)
    run = ensemble.map_members(steps, mesh, shared=(False, False, True))
    inputs = (
        state,
        ensemble.put_members(table, mesh),
        ensemble.put_shared(data, mesh),
    )
    return run.lower(*inputs), inputs


def make_inference(batch: int, variant: str) -> Callable[[], object]:
    """Returns a call that predicts so many images with one network, on all devices.

    The network is frozen and passed as one vector, as `ensemble.make_predictor` does.
    """
    model, data = ENet(variant), make_data(batch)
    frozen, variables = model.freeze(make_variables(model))
    vector, unravel = ravel_pytree(variables)
    devices = min(jax.device_count(), batch)
    mesh = ensemble.member_mesh(devices)

    def predict(images, vector):
        return train.predict(frozen, unravel(vector), images, len(images))

    run = ensemble.map_members(predict, mesh, shared=(False, True))
    images = data.image.reshape(devices, batch // devices, 64, 64, 1)
    put = ensemble.put_members(images, mesh), ensemble.put_shared(vector, mesh)
    return lambda: run(*put)


def make_asking(images: int, variant: str) -> Callable[[], object]:
    """Returns a call that asks one network about so many images, as a user does.

    They go in batches of `ensemble.PREDICT_BATCH`, filled up, on the network's device.
    """
    model, data = ENet(variant), make_data(images)
    variables = jax.tree.map(lambda leaf: leaf[None], make_variables(model))
    ask = ensemble.make_predictor(model, variables, symmetries=False)
    return functools.partial(ask, data.image, np.arange(images)[None])


def make_variables(model: ENet) -> dict:
    """Returns a new network's variables."""
    init = jax.jit(functools.partial(model.init, train=False))
    return jax.device_get(init(jax.random.key(0), np.zeros((1, 64, 64, 1), np.float32)))


class Torch:
    """The peer's calls."""

    def __init__(self, threads: int):
        import torch
        import torch_enet

        torch.set_num_threads(threads)
        self.torch = torch
        self.model = torch_enet.ENet()
        self.adam = torch.optim.Adam(self.model.parameters(), 5e-4)
        data = make_data()
        self.image = torch.from_numpy(data.image.transpose(0, 3, 1, 2).copy())
        self.labels = torch.from_numpy(data.shares[..., 0].astype(np.int64))

    def step(self):
        self.model.train()
        self.adam.zero_grad()
        logits = self.model(self.image[:BATCH])
        self.torch.nn.functional.cross_entropy(logits, self.labels[:BATCH]).backward()
        self.adam.step()

    def predict(self, batch: int):
        self.model.eval()
        with self.torch.inference_mode():
            return self.model(self.image[:batch]).softmax(dim=1).numpy()


def compile_seconds(cache: str, variant: str) -> dict[str, float]:
    """Returns the times from nothing to the first step, in a process of its own."""
    jax.config.update("jax_compilation_cache_dir", cache)
    begun = time.perf_counter()
    lowered, inputs = lower_steps(2, ENet(variant))
    traced = time.perf_counter()
    program = lowered.compile()
    compiled = time.perf_counter()
    jax.block_until_ready(program(*inputs))
    return {
        "init_and_trace_s": traced - begun,
        "compile_s": compiled - traced,
        "to_first_steps_s": time.perf_counter() - begun,
    }


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", default="1,2,4,8,30", help="such as 1,2,4")
    parser.add_argument("--variant", default="pytorch_enet", help="the peer's layout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--compile-into", help=argparse.SUPPRESS)
    given = parser.parse_args()
    ensemble.use_devices(0)
    if given.compile_into:
        seconds = compile_seconds(given.compile_into, given.variant)
        sys.stdout.write(json.dumps(seconds) + "\n")
        return
    for figure in measure(given):
        report(figure)


def measure(given):
    """Yields the figures as (name, value, unit, floor, PyTorch's) tuples."""
    threads = len(os.sched_getaffinity(0))
    has_torch = importlib.util.find_spec("torch") is not None and not given.no_torch
    peer = Torch(threads) if has_torch else None
    one, every = product_rate(1), product_rate(jax.device_count())
    yield "product_rate_one_core", one, "GFLOP/s", None, None
    yield "product_rate_all_cores", every, "GFLOP/s", None, None
    yield from measure_compiling(given.variant)
    step_flops = 3 * BATCH * FLOPS_PER_IMAGE
    calls = {}
    for members in map(int, given.members.split(",")):
        lowered, inputs = lower_steps(members, ENet(given.variant))
        calls[members] = functools.partial(lowered.compile(), *inputs)
    ms = alternate(calls | ({"theirs": peer.step} if peer else {}), given.rounds)
    for members in calls:
        floor = step_flops / (one if members == 1 else every) / 1e6
        ours = ms[members] / members / STEPS
        yield f"ms_per_member_step_{members}", ours, "ms", floor, ms.get("theirs")
    for batch in (1, 64):
        calls = {
            "ours": make_inference(batch, given.variant),
            "asked": make_asking(batch, given.variant),
        }
        if peer:
            calls["theirs"] = functools.partial(peer.predict, batch)
        ms = alternate(calls, 5 * given.rounds)
        flops, theirs = batch * FLOPS_PER_IMAGE, ms.get("theirs")
        floor = flops / (one if batch == 1 else every) / 1e6
        yield f"inference_ms_batch_{batch}", ms["ours"], "ms", floor, theirs
        yield f"asking_ms_images_{batch}", ms["asked"], "ms", flops / one / 1e6, theirs
    study = phantom.simulate_study("phantom_001")
    image = np.zeros((len(study.image), 256, 256), np.float32)
    y, x = (min(n, 256) for n in study.image.shape[1:])
    image[:, :y, :x] = study.image[:, :y, :x]
    crop_ms = median_ms(lambda: find_left_ventricle(image, study.spacing_mm))
    yield "crop_ms_per_slice_256", crop_ms / len(image), "ms", None, None


def alternate(calls: dict, rounds: int) -> dict:
    """Returns each call's median time in milliseconds, timed in turns."""
    for call in calls.values():
        once_ms(call)
    times = [[once_ms(call) for call in calls.values()] for _ in range(rounds)]
    return {
        name: statistics.median(column)
        for name, column in zip(calls, zip(*times, strict=True), strict=True)
    }


def measure_compiling(variant: str):
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "cached"):
            done = subprocess.run(
                [
                    *(sys.executable, __file__),
                    *(f"--compile-into={cache}", f"--variant={variant}"),
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            for name, value in json.loads(done.stdout.splitlines()[-1]).items():
                yield f"{name}_{state}", value, "s", None, None


def report(figure) -> None:
    name, value, unit, floor, peer = figure
    record = {"name": name, "value": round(value, 3), "unit": unit}
    text = f"{name:32}{value:10.2f} {unit:8}"
    if floor is not None:
        record["floor"] = round(floor, 3)
        text += f" floor {floor:7.2f}"
    if peer is not None:
        record |= {"pytorch": round(peer, 3), "ratio": round(peer / value, 2)}
        text += f"  PyTorch {peer:8.2f}  x {peer / value:.1f}"
    sys.stdout.write(f"{text}\n{json.dumps(record)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
