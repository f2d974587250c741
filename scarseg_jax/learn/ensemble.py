"""The member axis: many networks at once, spread over the devices there are.

The only file that knows how many members and devices there are, and how XLA is to
compile for them. Members share the data set and nothing else.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from flax.errors import ScopeParamNotFoundError, ScopeParamShapeError
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.stages import Wrapped

from scarseg_jax.errors import InputError
from scarseg_jax.learn import train
from scarseg_jax.learn.modules import Network
from scarseg_jax.prepare.folds import SYMMETRIES

PREDICT_BATCH = 16  # images a network predicts at a time

# On a CPU each device is one core that runs one member after the other, so kernels
# run on the calling thread. Barriers stay in the program: XLA would otherwise fuse
# a computation into each of its readers and repeat it there.
_CPU_OPTIONS = {
    "xla_cpu_multi_thread_eigen": False,
    "xla_cpu_experimental_ynn_fusion_type": "",
    "xla_disable_hlo_passes": "cse_barrier_expander",
}
_MEMBER = PartitionSpec("member")
_SHARED = PartitionSpec()


def use_devices(count: int) -> None:
    """Makes JAX see so many CPU devices; call before JAX computes anything.

    Args:
      count: Number of devices; 0 takes one for each core.
    """
    jax.config.update("jax_num_cpu_devices", count or len(os.sched_getaffinity(0)))


def member_mesh(members: int) -> Mesh:
    """Returns a one-axis mesh of the devices, no more than there are members."""
    devices = jax.devices()[:members]
    return jax.make_mesh(
        (len(devices),), ("member",), axis_types=(AxisType.Auto,), devices=devices
    )


def map_members(
    function: Callable, mesh: Mesh, *, shared: Sequence[bool], donate: bool = False
) -> Wrapped:
    """Returns the compiled function that maps over members, spread over the mesh.

    On GPUs the members of a device are batched; a CPU core runs one after the other,
    which is as fast and needs less memory.

    Args:
      function: Of one member's arguments; returns a tree of arrays.
      mesh: From `member_mesh`; its size divides the number of members.
      shared: For each argument whether all members share it; the others have a
        leading member axis.
      donate: Whether the first argument's memory may be reused for the result.
    """
    one_by_one = mesh.devices.flat[0].platform == "cpu"

    def on_device(*arguments):
        mapped = tuple(a for a, s in zip(arguments, shared, strict=True) if not s)

        def one(mapped):
            own = iter(mapped)
            return function(
                *(a if s else next(own) for a, s in zip(arguments, shared, strict=True))
            )

        return jax.lax.map(one, mapped) if one_by_one else jax.vmap(one)(mapped)

    # shard_map, not a sharded vmap: XLA's partitioner is left out of it.
    run = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=tuple(_SHARED if s else _MEMBER for s in shared),
        out_specs=_MEMBER,
        check_vma=False,
    )
    return jax.jit(
        run,
        donate_argnums=0 if donate else (),
        compiler_options=_CPU_OPTIONS if one_by_one else None,
    )


def put_members(tree, mesh: Mesh):
    """Returns the tree with its leading member axis spread over the mesh.

    Devices take equal shares: the last member is repeated to fill them up.
    """

    def filled(leaf):
        leaf = np.asarray(leaf)
        places = np.arange(len(leaf) + -len(leaf) % mesh.size)
        return leaf[places.clip(max=len(leaf) - 1)]

    sharding = NamedSharding(mesh, _MEMBER)
    return jax.device_put(jax.tree.map(filled, tree), sharding)


def take_members(tree, members: int):
    """Returns the tree as NumPy arrays without the members that only fill up."""
    return jax.tree.map(lambda leaf: leaf[:members], jax.device_get(tree))


def put_shared(tree, mesh: Mesh):
    """Returns the tree with a copy on each device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, _SHARED))


@contextlib.contextmanager
def _shapes_of_this_version() -> Iterator[None]:
    try:
        yield
    except (ScopeParamShapeError, ScopeParamNotFoundError, KeyError) as error:
        raise InputError(
            "the networks have other shapes than this version's of their variant; train"
            " them again, or ask with the version that trained them"
        ) from error


def make_predictor(
    model: Network, variables: dict, *, symmetries: bool
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Returns the function that asks each member about images of one size.

    The networks are frozen and put on the devices once, at the first question: of a
    model's networks some may never be asked. Images go in batches of
    `PREDICT_BATCH`, so whatever number of them is asked for, one program serves.

    Args:
      model: The network.
      variables: Leading axis M.
      symmetries: Whether an answer is the mean over the square's 8 symmetries.

    Returns:
      A function of (N, H, H, 1) images and (M, n) indices of those wanted of each
      member, below 0: none. It returns (M, n, H, H, K - 1) float32 probabilities of
      each class but the background; those of none are of no use. It raises an InputError
      if the variables have other shapes than the network's.
    """
    members = len(jax.tree.leaves(variables)[0])
    mesh = member_mesh(members)

    def freeze(own):
        return ravel_pytree(model.freeze(own)[1])[0]

    one = jax.tree.map(lambda leaf: leaf[0], variables)
    with _shapes_of_this_version():
        shapes = jax.eval_shape(lambda own: model.freeze(own)[1], one)
    frozen = model.clone(frozen=True)

    own = jax.tree.map(np.array, variables)  # the caller's may change until then

    @functools.cache
    def vectors():
        return map_members(freeze, mesh, shared=(False,))(put_members(own, mesh))

    def predict(vector, images, symmetry):
        weights = train.unravel(vector, shapes)
        return train.predict_turned(frozen, weights, images, symmetry)

    program = map_members(predict, mesh, shared=(False, False, False))
    turns = np.arange(SYMMETRIES if symmetries else 1, dtype=np.int32)

    def ask(images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        codes = wanted.astype(np.int32)[..., None] * SYMMETRIES + turns
        flat = codes.reshape(members, -1)
        answers = []
        for start in range(0, flat.shape[1], PREDICT_BATCH):
            batch = flat[:, start : start + PREDICT_BATCH]
            short = PREDICT_BATCH - batch.shape[1]
            batch = np.pad(batch, ((0, 0), (0, short)), mode="edge")
            seen = put_members(images[batch // SYMMETRIES], mesh)
            turned = put_members(batch % SYMMETRIES, mesh)
            with _shapes_of_this_version():
                answers.append(program(vectors(), seen, turned))
        said = np.concatenate([take_members(a, members) for a in answers], axis=1)
        said = said[:, : flat.shape[1]]
        return said.reshape(*codes.shape, *said.shape[2:]).mean(axis=2)

    return ask
