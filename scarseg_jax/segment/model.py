"""Trained networks, loaded and verified once, that answer for many studies."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.learn import bundle, checkpoint, ensemble, targets
from scarseg_jax.learn.networks import network
from scarseg_jax.prepare.cut import PREPARATION
from scarseg_jax.run import RunRecord, TrainedMember
from scarseg_jax.segment.look import Networks, view_of

_log = logging.getLogger(__name__)
# The networks in the box, which learned on real patients; and others, on simulated ones
# alone. Each folder says how good they are.
IN_THE_BOX = Path(__file__).parents[1] / "weights"
SIMULATED = IN_THE_BOX.with_name("simulated")


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """Networks of one run.

    Attributes:
      path: The checkpoint they are from.
      run: What it says of itself.
      members: The networks, some or all of the run's.
      ask: From `ensemble.make_predictor`.
      sha256: Of the checkpoint; empty where the networks are from no file.
      finder: Networks that find the myocardium for these; None: they need it given, or
        need none.
      drawn: Networks that answer in their place where the myocardium is given; None: they
        do so themselves.
    """

    path: Path
    run: RunRecord
    members: tuple[TrainedMember, ...]
    ask: Callable[[np.ndarray, np.ndarray], np.ndarray]
    sha256: str = ""
    finder: "Model | None" = None
    drawn: "Model | None" = None

    @property
    def networks(self) -> Networks:
        """Who is asked, and who is asked before."""
        finder = self.finder and self.finder.networks
        return Networks(self.ask, len(self.members), view_of(self.run), finder)


def load_model(
    path: Path | str = IN_THE_BOX,
    *,
    folds: Sequence[int] = (),
    seeds: Sequence[int] = (),
) -> Model:
    """Returns the networks of a finished run; of those in the box it says the licence.

    With them come those that find the myocardium for them, if the run had any, and those
    that answer for them where it is given, if the bundle has any.

    Args:
      path: Its working directory, the checkpoint in it, or a bundle made of it; or, by
        the name of its folder alone, `SIMULATED`.
      folds: Networks of these folds only; empty takes all.
      seeds: Networks of these seeds only; empty takes all.

    Raises:
      InputError: If there is no sound checkpoint, it was trained on slices prepared
        otherwise than now, it has no such network, or not who finds the myocardium.
    """
    if str(path) == SIMULATED.name and not Path(path).exists():
        path = SIMULATED
    inside = Path(path) / "checkpoint"
    path = inside if inside.is_dir() else Path(path)
    if bundle.is_bundle(path):
        variables, run = bundle.load(path)
    else:
        variables, run = checkpoint.load(path, RunRecord)
    if run.preparation != PREPARATION:
        raise InputError(
            f"{path} was trained by another version, with preparation"
            f" {run.preparation}; this one makes preparation {PREPARATION}: train again"
        )
    for key, wanted in (("fold", folds), ("seed", seeds)):
        there = sorted({getattr(m.member, key) for m in run.members})
        if not set(wanted) <= set(there):
            raise InputError(
                f"--{key}s={','.join(map(str, wanted))}; the run has"
                f" {', '.join(map(str, there))}"
            )
    chosen = [
        i
        for i, trained in enumerate(run.members)
        if (not folds or trained.member.fold in folds)
        and (not seeds or trained.member.seed in seeds)
    ]
    variables = jax.tree.map(lambda leaf: leaf[np.array(chosen)], variables)
    members = tuple(run.members[i] for i in chosen)
    ask = _predictor(run, variables)
    if path == IN_THE_BOX:
        licence = bundle.LICENCES[run.source]
        _log.info("the networks in the box (%s/%s): %s", path, bundle.CARD, licence)
    finder = _finder_of(path, run, folds)
    drawn = path / bundle.DRAWN
    return Model(
        *(path, run, members, ask, files.sha256(path / files.SUMS), finder),
        drawn=load_model(drawn, folds=folds) if bundle.is_bundle(drawn) else None,
    )


def _finder_of(path: Path, run: RunRecord, folds: Sequence[int]) -> Model | None:
    """Returns who finds the myocardium for a run's networks, kept with them."""
    if not run.finder:
        return None
    home = (path if bundle.is_bundle(path) else path.absolute().parent) / bundle.FINDER
    if not bundle.is_bundle(home):
        raise InputError(
            f"{home}: the networks that find the myocardium are missing; copy the run"
            " or bundle anew, whole"
        )
    finder = load_model(home, folds=folds)
    if finder.sha256 != run.finder:
        raise InputError(
            f"{home}: other networks than found the myocardium for those in {path};"
            " copy the run or bundle anew, whole"
        )
    return finder


def _predictor(run: RunRecord, variables: dict) -> Callable:
    model = network(
        run.variant, targets.count(run.classes), slices=2 * run.neighbours + 1
    )
    return ensemble.make_predictor(model, variables, symmetries=run.symmetries)
