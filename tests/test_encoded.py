"""Superpixels, and what a sparse auto-encoder learns of them."""

import dataclasses

import numpy as np
import pytest

from scarseg_jax.learn import autoencoder
from scarseg_jax.learn.autoencoder import Layer
from scarseg_jax.segment import encoded
from tests.builders import dice_of, ring_slice

SPACING = (1.5, 1.5)


@pytest.fixture
def ring(rng):
    """One slice: its image, myocardium and scar, an axis in front of each."""
    return [array[None] for array in ring_slice(rng)]


def test_every_pixel_of_the_myocardium_is_in_one_superpixel(ring):
    image, wall, _ = ring
    found = encoded.find_superpixels(image, wall, np.array([SPACING]))
    np.testing.assert_array_equal(found.number >= 0, wall)
    count = len(found.patches)
    assert np.unique(found.number[wall]).tolist() == list(range(count))
    assert found.patches.shape == (count, encoded.SIDE**2)
    assert 0 <= found.patches.min() < found.patches.max() <= 1
    mm2 = wall.sum() * SPACING[0] * SPACING[1]
    assert count == pytest.approx(mm2 / 25, rel=0.3)


def test_a_patch_is_the_image_around_its_superpixel_whatever_the_pixels_are(ring):
    image, wall, _ = ring
    ramp = np.broadcast_to(np.arange(image.shape[1])[:, None], image.shape[1:])
    found = encoded.find_superpixels(
        ramp[None].astype(float), wall, np.array([SPACING])
    )
    middles = [np.nonzero(found.number[0] == n)[0].mean() for n in range(3)]
    mean, sd = ramp[wall[0]].mean(), ramp[wall[0]].std()
    for middle, patch in zip(middles, found.patches, strict=False):
        rows = middle + np.arange(encoded.SIDE) - (encoded.SIDE - 1) / 2
        wanted = ((rows.clip(0, len(ramp) - 1) - mean) / sd).clip(-3, 3)
        sides = (encoded.SIDE, encoded.SIDE)
        wanted = np.broadcast_to(((wanted + 3) / 6)[:, None], sides)
        np.testing.assert_allclose(patch.reshape(sides), wanted, atol=1e-6)


def test_scale_and_offset_have_no_influence(ring):
    image, wall, _ = ring
    plain = encoded.find_superpixels(image, wall, np.array([SPACING]))
    moved = encoded.find_superpixels(4 * image + 64, wall, np.array([SPACING]))
    np.testing.assert_array_equal(plain.number, moved.number)
    np.testing.assert_allclose(plain.patches, moved.patches, atol=1e-4)


def test_a_myocardium_of_one_intensity_has_no_superpixel(ring):
    _, wall, scar = ring
    found = encoded.find_superpixels(np.ones(wall.shape), wall, np.array([SPACING]))
    assert (found.number == -1).all()
    assert found.patches.shape == (0, encoded.SIDE**2)
    layers = [Layer(np.ones((encoded.SIDE**2, 1)), np.zeros(1))]
    assert np.isneginf(encoded.score(found, layers)).all()
    assert encoded.scar_share(found, scar).shape == (0,)


def test_a_score_is_the_logistic_of_what_each_layer_makes_of_the_patch(ring):
    image, wall, _ = ring
    found = encoded.find_superpixels(image, wall, np.array([SPACING]))
    one = dataclasses.replace(found, patches=found.patches[:, :1])
    layers = [Layer(np.array([[2.0]]), np.array([-1.0]))]
    said = encoded.score(one, layers)
    wanted = 1 / (1 + np.exp(1 - 2 * found.patches[found.number[wall], 0]))
    np.testing.assert_allclose(said[wall], wanted, rtol=1e-6)
    assert np.isneginf(said[~wall]).all()


def test_the_share_of_a_superpixel_that_is_scar(ring):
    image, wall, scar = ring
    found = encoded.find_superpixels(image, wall, np.array([SPACING]))
    share = encoded.scar_share(found, scar)
    for number in (0, 5):
        assert share[number] == scar[found.number == number].mean()


def test_what_is_learned_tells_bright_superpixels_from_dark_ones(ring):
    image, wall, scar = ring
    found = encoded.find_superpixels(image, wall, np.array([SPACING]))
    share = encoded.scar_share(found, scar)
    (layers,) = autoencoder.fit(
        found.patches, share > 0.5, [np.arange(len(share))], seed=0
    )
    units = [layer.bias.shape for layer in layers]
    assert units == [(100,), (50,), (1,)]
    assert dice_of(encoded.score(found, layers) >= 0.5, scar) > 0.9


def test_a_groups_network_depends_on_its_own_vectors_alone(rng):
    vectors = rng.random((40, 9), dtype=np.float32)
    labels = vectors[:, 0] > 0.5
    groups = [np.arange(20), np.arange(20, 40)]
    before = autoencoder.fit(vectors, labels, groups, seed=1)
    other = vectors.copy()
    other[20:] = rng.random((20, 9))
    after = autoencoder.fit(other, labels, groups, seed=1)
    for first, second, same in zip(before, after, (True, False), strict=True):
        assert np.array_equal(first[0].kernel, second[0].kernel) is same
