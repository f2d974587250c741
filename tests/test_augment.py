import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from scarseg_jax.learn import augment
from scarseg_jax.learn.augment import (
    apply_symmetry,
    deform,
    repaint,
    undo_symmetry,
)
from scarseg_jax.prepare.folds import SYMMETRIES


def test_undoing_a_symmetry_gives_the_image_back(rng):
    image = rng.normal(size=(5, 5, 2))
    symmetries = jnp.arange(SYMMETRIES)
    turned = jax.vmap(apply_symmetry, (None, 0))(image, symmetries)
    back = jax.vmap(undo_symmetry)(turned, symmetries)
    for one in back:
        np.testing.assert_array_equal(one, image.astype(np.float32))
    # A quarter turn is not its own inverse.
    assert not np.array_equal(jax.vmap(apply_symmetry)(turned, symmetries), back)


def still(monkeypatch):
    """Takes all but the turning out of `deform`."""
    monkeypatch.setattr(augment, "LARGEST_SCALE", 1.0)
    monkeypatch.setattr(augment, "LARGEST_SHIFT_PX", 0.0)
    monkeypatch.setattr(augment, "BEND_PX", 0.0)


def test_a_turned_image_is_what_scipy_turns(rng, monkeypatch):
    still(monkeypatch)
    smooth = ndimage.gaussian_filter(rng.normal(size=(64, 64)), 3).astype(np.float32)
    turn = jax.random.split(jax.random.key(3), 4)[0]
    angle = jax.random.uniform(turn, maxval=2 * np.pi)
    shares = jnp.zeros((64, 64, 1))
    turned, _ = deform(jax.random.key(3), jnp.asarray(smooth[..., None]), shares, None)
    theirs = ndimage.rotate(
        smooth, -np.degrees(float(angle)), reshape=False, order=1, mode="nearest"
    )
    y, x = np.mgrid[:64, :64] - 31.5
    inside = np.hypot(y, x) < 30
    np.testing.assert_allclose(turned[..., 0][inside], theirs[inside], atol=1e-4)


def test_shares_go_where_their_image_goes(rng):
    mask = ndimage.gaussian_filter(rng.normal(size=(64, 64)), 4) > 0
    image = jnp.asarray(mask[..., None].repeat(2, axis=2), jnp.float32)
    cut_out = jnp.array([True, False])
    for seed in range(5):
        seen, moved = deform(jax.random.key(seed), image, image[..., :1], cut_out)
        assert 0 < moved.mean() < 1
        np.testing.assert_array_equal(seen[..., 1:], moved)
        sharp = np.asarray(seen[..., 0])  # edges as sharp as before
        assert np.isin(sharp, (0, 1)).all()
        # Between pixels the linear and the nearest value may fall on either side.
        assert np.mean((moved[..., 0] > 0.5) != (sharp == 1)) < 0.02


def test_a_deformation_is_moderate_and_another_for_each_key():
    rows = jnp.asarray(np.mgrid[:64, :64].transpose(1, 2, 0), jnp.float32)
    shares = jnp.zeros((64, 64, 1))
    keys = jax.random.split(jax.random.key(0), 200)
    where, _ = jax.vmap(deform, (0, None, None, None))(keys, rows, shares, None)
    middle = np.asarray(where)[:, 31:33, 31:33].mean(axis=(1, 2)) - 31.5
    assert np.abs(middle).max() < augment.LARGEST_SHIFT_PX + 3 * augment.BEND_PX
    assert len(np.unique(middle.round(4), axis=0)) == len(keys)
    along = where[:, 32, 40] - where[:, 32, 24]  # 16 px before
    scale = np.linalg.norm(along, axis=-1) / 16
    assert scale.min() > 0.5 / augment.LARGEST_SCALE
    assert scale.max() < 1.5 * augment.LARGEST_SCALE


def z_scored(rng, channels=2):
    smooth = ndimage.gaussian_filter(rng.normal(size=(64, 64, channels)), (3, 3, 0))
    spread = smooth.std(axis=(0, 1))
    return jnp.asarray((smooth - smooth.mean(axis=(0, 1))) / spread, jnp.float32)


def test_a_repainted_image_is_z_scored_and_another_for_each_key(rng):
    keys = jax.random.split(jax.random.key(0), 100)
    painted = np.asarray(jax.vmap(repaint, (0, None))(keys, z_scored(rng)))
    np.testing.assert_allclose(painted.mean(axis=(1, 2)), 0, atol=0.03)
    np.testing.assert_allclose(painted.std(axis=(1, 2)), 1, atol=0.03)
    assert len(np.unique(painted[:, 5, 5, 0])) == len(keys)
    constant = repaint(jax.random.key(1), jnp.zeros((64, 64, 1)))
    assert np.isfinite(constant).all()


def test_contrast_keeps_the_order_of_brightness_and_is_that_of_all_channels(
    rng, monkeypatch
):
    monkeypatch.setattr(augment, "SHADING", 0.0)
    monkeypatch.setattr(augment, "LARGEST_NOISE", 0.0)
    monkeypatch.setattr(augment, "_softened", lambda image: image)
    image = z_scored(rng, 1)
    twice = jnp.concatenate([image, image], axis=-1)
    skewed = []
    for seed in range(20):
        painted = np.asarray(repaint(jax.random.key(seed), twice))
        np.testing.assert_array_equal(painted[..., 0], painted[..., 1])
        order = np.argsort(image[..., 0], axis=None)
        assert (np.diff(painted[..., 0].ravel()[order]) >= -1e-5).all()
        skewed.append((painted[..., 0] ** 3).mean() - (image[..., 0] ** 3).mean())
    assert min(skewed) < -0.1  # darker and
    assert max(skewed) > 0.1  # brighter middles


def test_softening_is_scipys_mean_of_nine(rng):
    image = rng.normal(size=(16, 16, 2))
    theirs = ndimage.uniform_filter(image, 3, mode="nearest", axes=(0, 1))
    ours = augment._softened(jnp.asarray(image, jnp.float32))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
