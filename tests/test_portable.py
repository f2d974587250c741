"""Networks as StableHLO: read by JAX alone, they say what the bundle's networks say."""

import dataclasses

import jax
import jax.export
import numpy as np

from scarseg_jax.learn import bundle, ensemble, portable, targets
from scarseg_jax.learn.enet import ENet
from scarseg_jax.prepare.crop import boxes_around
from scarseg_jax.prepare.cut import cut
from scarseg_jax.readers import phantom
from scarseg_jax.segment.model import IN_THE_BOX


def test_the_program_says_what_the_networks_in_memory_say(tmp_path):
    several, record = bundle.load(IN_THE_BOX)
    variables = jax.tree.map(lambda leaf: leaf[:1], several)
    record = dataclasses.replace(record, members=record.members[:1], symmetries=False)
    program = portable.to_stablehlo(bundle.kept(variables), record)
    bundle.save(tmp_path / "b", variables, record, "# Card", {}, program)
    restored, _ = bundle.load(tmp_path / "b")
    model = ENet(variant=record.variant, classes=targets.count(record.classes))
    ask = ensemble.make_predictor(model, restored, symmetries=record.symmetries)
    study = phantom.simulate_study("phantom_001")
    boxes = boxes_around(np.asarray(study.myocardium), study.spacing_mm)
    seen = cut(study, protocol=2, context=True, neighbours=1, boxes=boxes)
    images = seen.image[3:6]

    read = jax.export.deserialize(
        bytearray((tmp_path / "b" / bundle.STABLEHLO).read_bytes())
    )
    assert read.platforms == ("cpu", "cuda")
    assert str(read.in_avals[0].shape) == "(batch, 64, 64, 9)"  # neighbours, too
    said = np.asarray(read.call(images))
    assert said.shape == (1, 3, 64, 64, 1)
    np.testing.assert_allclose(said, ask(images, np.arange(3)[None]), atol=1e-4)
    assert np.ptp(said) > 0.5  # of a network that says something
