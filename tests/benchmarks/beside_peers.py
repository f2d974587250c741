"""Times a training step and an answer beside the strongest set-ups of other libraries.

python tests/benchmarks/beside_peers.py --python=PYTHON_WITH_TORCH

In turns, round by round; figures are medians, and the ratio is that of the round. For
training each set-up uses all cores as its user would: one process of all threads, or a
network a core. `peers.py` says what PYTHON needs.
"""

import argparse
import functools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from train_step import STEPS, lower_steps, make_inference, median_ms

from scarseg_jax.learn import ensemble
from scarseg_jax.learn.enet import ENet

HERE = Path(__file__).parent
# How, processes at once, threads each.
TRAINERS = (("eager", 1, 0), ("fused", 0, 1), ("compiled", 0, 1))
ANSWERERS = ("eager", "compiled", "onnxruntime", "openvino")
VARIANT = "pytorch_enet"  # the peers' layout


def peer_ms(python: str, *arguments: str, processes: int = 1) -> float:
    """Returns a peer's milliseconds a call and process, the mean over processes."""
    with tempfile.TemporaryDirectory() as folder:
        go = Path(folder) / "go"
        running = [
            subprocess.Popen(
                [python, str(HERE / "peers.py"), *arguments, f"--ready={go}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(processes)
        ]
        lines = []
        for one in running:
            assert one.stdout is not None
            if one.stdout.readline() != "ready\n":
                return float("nan")
        go.touch()
        for one in running:
            lines.append(float(one.communicate()[0] or "nan"))
    return statistics.mean(lines)


def processor() -> str:
    """Returns the processor's name and number of cores."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [
        line.split(":")[1].strip() for line in info.splitlines() if "model name" in line
    ]
    flags = "AVX-512" if "avx512f" in info else "AVX2" if "avx2" in info else "no AVX2"
    cores = len(os.sched_getaffinity(0))
    return f"{names[0] if names else platform.processor()}, {cores} cores, {flags}"


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="one that has PyTorch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", default="8")
    given = parser.parse_args()
    ensemble.use_devices(0)
    cores = len(os.sched_getaffinity(0))
    sys.stdout.write(f"{processor()}\n")

    lowered, inputs = lower_steps(cores, ENet(VARIANT))
    run = functools.partial(lowered.compile(), *inputs)
    rows: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        ours = median_ms(run) / cores / STEPS
        rows.setdefault("ours, a network a core", []).append(ours)
        for how, processes, threads in TRAINERS:
            count = processes or cores
            ms = peer_ms(
                given.python,
                *("train", how, f"--threads={threads or cores}"),
                f"--seconds={given.seconds}",
                processes=count,
            )
            name = f"PyTorch {how}, {count} process(es)"
            rows.setdefault(name, []).append(ms / count)
    show("training, ms a network and step of 4 images", rows)
    for batch in (1, 64):
        rows = {}
        run = make_inference(batch, VARIANT)
        for _ in range(given.rounds):
            rows.setdefault("ours", []).append(median_ms(run, 30))
            for how in ANSWERERS:
                ms = peer_ms(
                    given.python,
                    *("answer", how, f"--threads={cores}", f"--batch={batch}"),
                    f"--seconds={given.seconds}",
                )
                rows.setdefault(how, []).append(ms)
        show(f"one network's answer to {batch} images, ms", rows)


def show(title: str, rows: dict[str, list[float]]) -> None:
    """Writes a table; the first row is what the others are compared with."""
    first = next(iter(rows.values()))
    sys.stdout.write(f"\n{title}\n")
    for name, values in rows.items():
        ratios = [v / f for v, f in zip(values, first, strict=True)]
        sys.stdout.write(
            f"  {name:34}{statistics.median(values):9.2f}"
            f"{statistics.median(ratios):8.2f} times ours\n"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
