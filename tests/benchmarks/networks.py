"""Times a training step of every network beside ENet's.

python tests/benchmarks/networks.py --members=5

In turns, round by round, so that a machine whose speed drifts slows all; figures are
medians, and the ratio is that of the rounds.
"""

import argparse
import functools
import statistics
import sys
import time

from train_step import STEPS, lower_steps, once_ms

from scarseg_jax.learn import ensemble
from scarseg_jax.learn.networks import VARIANTS, network


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=1, help="that an image holds")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    given = parser.parse_args()
    ensemble.use_devices(0)
    calls = {}
    for name in dict.fromkeys(["seed", *given.variants.split(",")]):
        begun = time.perf_counter()
        model = network(name, 2, slices=given.slices)
        lowered, inputs = lower_steps(given.members, model, channels=given.slices)
        calls[name] = functools.partial(lowered.compile(), *inputs)
        seconds = time.perf_counter() - begun
        sys.stdout.write(f"{name}: compiled in {seconds:.0f} s\n")
    rounds = [
        {name: once_ms(call) for name, call in calls.items()}
        for _ in range(given.rounds + 1)
    ][1:]
    for name in calls:
        ms = statistics.median(ms[name] for ms in rounds) / STEPS / given.members
        ratio = statistics.median(ms[name] / ms["seed"] for ms in rounds)
        sys.stdout.write(f"{name:14}{ms:9.2f} ms a network and step, x {ratio:.2f}\n")


if __name__ == "__main__":
    main()
