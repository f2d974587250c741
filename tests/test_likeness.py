import numpy as np
import pytest
from scipy import ndimage

from scarseg_jax.prepare.likeness import find_copy, fingerprint
from scarseg_jax.readers import emidec as emidec_reader
from scarseg_jax.readers import phantom

NAMES = phantom.list_patients(6)


@pytest.fixture(scope="module")
def images():
    return {name: phantom.simulate_study(name).image for name in NAMES}


@pytest.fixture(scope="module")
def known(images):
    return {name: fingerprint(image) for name, image in images.items()}


def stray(image):
    image = image.copy()
    image[0, 0, 0] = 100 * image.max()
    return image


COPIES = {
    "itself": lambda image: image,
    "rescaled": lambda image: 0.01 * image - 7,
    "minute": lambda image: image * np.float32(1e-30),
    "huge": lambda image: image * np.float32(1e30),
    "noisy": lambda image: (
        image + np.random.default_rng(1).normal(0, image.std() / 2, image.shape)
    ),
    "smooth": lambda image: ndimage.gaussian_filter(image, (0, 1, 1)),
    "of fewer pixels": lambda image: ndimage.zoom(image, (1, 0.7, 0.7), order=1),
    "of more pixels": lambda image: ndimage.zoom(image, (1, 1.37, 1.37), order=1),
    "of more slices": lambda image: ndimage.zoom(image, (2, 1, 1), order=1),
    "in 8 bits": lambda image: np.rint(255 * np.clip(image / image.max(), 0, 1)),
    "with a stray voxel": stray,
    "upside down": lambda image: image[:, ::-1],
    "from the other end": lambda image: image[::-1],
    "with axes exchanged": lambda image: image.transpose(0, 2, 1)[:, ::-1],
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_known_whatever_its_form(images, known, change):
    for name in NAMES[:2]:
        copy = COPIES[change](images[name]).astype(np.float32)
        found = find_copy(copy, known)
        assert found is not None
        assert found[0] == name
        assert 0.9 < found[1] <= 1


def test_other_patients_are_no_copies(images, known):
    for name, image in images.items():
        others = {other: print_ for other, print_ in known.items() if other != name}
        assert find_copy(image, others) is None
    assert len(set(known.values())) == len(NAMES)


def test_a_constant_image_is_nobodys(images, known):
    flat = np.full_like(images[NAMES[0]], 7)
    assert fingerprint(flat) == ""
    assert find_copy(flat, known) is None
    assert find_copy(images[NAMES[0]], {"flat": ""}) is None


def test_fingerprints_stay_what_they_are():
    """Checkpoints keep them."""
    z, y, x = np.mgrid[:6, :40, :50]
    image = np.sin(z + 1.0) * np.sin(0.7 * y) + np.cos(0.5 * x * z)
    assert fingerprint(image.astype(np.float32))[:16] == "d15a4821330608e8"


def test_of_the_real_patients_two_are_one(emidec):
    known = {}
    copies = []
    for name in emidec_reader.list_patients(emidec):
        image = emidec_reader.read_study(emidec, name).image
        found = find_copy(image, known)
        if found is not None:
            copies.append((found[0], name))
        known[name] = fingerprint(image)
    assert copies == [("Case_P059", "Case_P072")]
