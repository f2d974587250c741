"""Networks that begin as others, which learned on nobody's images."""

import dataclasses

import jax
import numpy as np
import pytest
from builders import draw_study

from scarseg_jax import files, settings, starts
from scarseg_jax.errors import InputError
from scarseg_jax.learn import bundle
from scarseg_jax.prepare.likeness import fingerprint
from scarseg_jax.segment.look import view_of
from scarseg_jax.segment.model import IN_THE_BOX, SIMULATED


@pytest.fixture(scope="module")
def known():
    """The box's scar networks, and what they are."""
    return bundle.load(IN_THE_BOX)


@pytest.fixture(scope="module")
def simulated(known, tmp_path_factory):
    """A bundle of them as if they had learned on phantoms."""
    variables, record = known
    home = tmp_path_factory.mktemp("start") / "bundle"
    record = dataclasses.replace(record, source="phantom", finder="")
    bundle.save(home, variables, record, "", {})
    return home


def test_a_bundle_of_phantoms_is_taken_as_it_is(known, simulated):
    variables, record = known
    read, sha256 = starts.read(
        simulated, (), view=view_of(record), variant=record.variant
    )
    jax.tree.map(np.testing.assert_array_equal, read, variables)
    assert sha256 == files.sha256(simulated / files.SUMS)
    assert SIMULATED.name == settings.SIMULATED  # by which both call those in the box


def test_what_does_not_fit_or_has_seen_patients_is_refused(known, simulated, tmp_path):
    _, record = known
    view, variant = view_of(record), record.variant
    with pytest.raises(InputError, match="which is no bundle; make one"):
        starts.read(tmp_path, (), view=view, variant=variant)
    with pytest.raises(InputError, match="learned on emidec data; expected simulated"):
        starts.read(IN_THE_BOX, (), view=view, variant=variant)
    with pytest.raises(InputError, match=r"are seed,.*; these are unet,"):
        starts.read(simulated, (), view=view, variant="unet")
    for other in ({"neighbours": 0}, {"context": False}, {"classes": "heart_scar"}):
        with pytest.raises(InputError, match="or to networks of the same"):
            starts.read(
                simulated, (), view=dataclasses.replace(view, **other), variant=variant
            )


def test_patients_of_the_run_whom_they_know_are_refused(known, tmp_path):
    variables, record = known
    one, other = (draw_study(name, seed=seed) for seed, name in enumerate("ab"))
    record = dataclasses.replace(
        record, source="phantom", finder="", fingerprints={"x": fingerprint(one.image)}
    )
    bundle.save(tmp_path / "b", variables, record, "", {})
    kind = {"view": view_of(record), "variant": record.variant}
    starts.read(tmp_path / "b", (other,), **kind)
    with pytest.raises(
        InputError, match="learned on 1 of this run's patients, such as a"
    ):
        starts.read(tmp_path / "b", (other, one), **kind)
