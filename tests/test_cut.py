import dataclasses

import numpy as np
import pytest
from builders import SPACING_MM, draw_study

from scarseg_jax.prepare import crop
from scarseg_jax.prepare.cut import box_of, cut, tissue_shares
from scarseg_jax.readers import emidec
from scarseg_jax.segment.look import Said, View
from scarseg_jax.segment.pipeline import on_native_grid
from scarseg_jax.study import Tissue


@pytest.fixture
def study():
    return draw_study("p", slices=3)


def nearest(stack, slices):
    """Returns the values at the crops' pixels of a (Z, Y, X) stack, 0 outside."""
    padded = np.pad(stack, ((0, 0), (100, 100), (100, 100)))
    crops = []
    for z, plane in enumerate(padded):
        box = box_of(slices, z)
        at = (np.rint(crop.to_native(box, 64, a)).astype(int) + 100 for a in (0, 1))
        crops.append(plane[np.ix_(*at)])
    return np.stack(crops)


def test_the_tissues_are_those_that_emidecs_experts_drew(study):
    # The challenge's labels, drawn on the study's own grid and read as its reader does.
    drawn = np.zeros(study.image.shape, int)
    drawn[study.cavity] = emidec.Label.CAVITY
    drawn[study.myocardium] = emidec.Label.NORMAL_MYOCARDIUM
    drawn[study.scar] = emidec.Label.INFARCT
    core = study.scar & (np.arange(80) > 47)
    drawn[core] = emidec.Label.NO_REFLOW
    masks = {name: np.isin(drawn, labels) for name, labels in emidec.MASKS.items()}
    slices = cut(dataclasses.replace(study, **masks), protocol=1)
    shares = tissue_shares(dataclasses.replace(study, **masks), slices)
    assert shares.shape == (*slices.scar.shape, 4)
    assert shares.dtype == np.float32
    assert 0 <= shares.min() < shares.max() <= 1
    sure = shares > 0.75  # the nearest pixel is of what has most of the interpolation
    theirs = nearest(drawn, slices)
    for number, own in enumerate(sure.transpose(3, 0, 1, 2), start=1):
        assert own.any()
        assert (theirs[own] == number).all()
    # A pixel of two borders may be anybody's; nothing is lost or counted twice.
    assert (shares.sum(axis=-1) <= 1 + 1e-6).all()
    for z in range(len(drawn)):
        for number, tissue in enumerate(Tissue):
            if tissue != Tissue.BACKGROUND:
                mm2 = (drawn[z] == number).sum() * np.prod(SPACING_MM[1:])
                seen_mm2 = shares[z, ..., number - 1].sum() * slices.pixel_mm[z] ** 2
                assert seen_mm2 == pytest.approx(mm2, rel=0.03, abs=2)


def test_the_tissues_of_some_slices_are_those_of_all(study):
    slices = cut(study, protocol=1)
    some = np.array([2, 0])
    np.testing.assert_array_equal(
        tissue_shares(study, slices.take(some)), tissue_shares(study, slices)[some]
    )


def test_scar_outside_the_myocardium_is_scar(study):
    other = dataclasses.replace(study, myocardium=study.myocardium & ~study.scar)
    slices = cut(other, protocol=1)
    np.testing.assert_array_equal(
        tissue_shares(other, slices), tissue_shares(study, slices)
    )
    assert not (slices.scar & slices.myocardium).any()


def test_what_was_not_drawn_is_background(study):
    bare = dataclasses.replace(study, cavity=None, scar=None)
    slices = cut(bare, protocol=1)
    shares = tissue_shares(bare, slices)
    assert shares[..., Tissue.MYOCARDIUM - 1].any()
    assert not np.delete(shares, Tissue.MYOCARDIUM - 1, axis=-1).any()
    assert slices.myocardium.any()
    assert not slices.labelled.any()
    assert cut(study, protocol=1).labelled.all()
    none = dataclasses.replace(bare, myocardium=None)
    assert not tissue_shares(none, cut(none, protocol=1)).any()


def test_where_a_slice_was_cut_gives_its_crop_again(study):
    slices = cut(study, protocol=1)
    for z, plane in enumerate(study.image):
        box = box_of(slices, z)
        assert box.spacing_mm == SPACING_MM[1:]
        np.testing.assert_array_equal(slices.crop[z], crop.crop_image(plane, box))
    np.testing.assert_array_equal(slices.scar, nearest(study.scar, slices))
    np.testing.assert_array_equal(slices.myocardium, nearest(study.myocardium, slices))


def test_a_protocol_sees_what_crop_says_it_does(study):
    one, two = (cut(study, protocol=protocol) for protocol in (1, 2))
    for name in ("crop", "myocardium", "centre_px", "side_mm"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for protocol, slices in ((1, one), (2, two)):
        seen = [
            crop.network_input(image, wall, protocol=protocol)
            for image, wall in zip(one.crop, one.myocardium, strict=True)
        ]
        np.testing.assert_array_equal(slices.image, seen)


def test_with_context_it_sees_the_crop_and_the_mask_beside(study):
    one, two = (cut(study, protocol=protocol) for protocol in (1, 2))
    seen = cut(study, protocol=2, context=True).image
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen[..., :1], two.image)
    np.testing.assert_array_equal(seen[..., 1:2], one.image)
    np.testing.assert_array_equal(seen[..., 2], two.myocardium)


@pytest.mark.parametrize(("protocol", "context"), [(1, False), (2, True)])
def test_neighbours_stand_beside_cut_out_at_the_same_place(study, protocol, context):
    boxes = [crop.CropBox((40.0, 40.5), 90.0, study.spacing_mm[1:])] * 3
    how = {"protocol": protocol, "context": context, "boxes": boxes}
    alone = cut(study, **how).image
    seen = cut(study, **how, neighbours=1).image
    for z, image in enumerate(seen):
        expected = [alone[max(z - 1, 0)], alone[z], alone[min(z + 1, 2)]]
        np.testing.assert_array_equal(image, np.concatenate(expected, axis=-1))
    assert (seen[1, ..., : alone.shape[-1]] != alone[1]).any()


def test_slices_are_cut_out_where_it_is_said(study):
    boxes = [
        crop.CropBox((30.0 + z, 44.25), 100.0, study.spacing_mm[1:]) for z in range(3)
    ]
    slices = cut(study, protocol=1, boxes=boxes)
    assert [box_of(slices, z) for z in range(3)] == boxes
    np.testing.assert_array_equal(slices.scar, nearest(study.scar, slices))
    for z in range(3):
        np.testing.assert_allclose(
            slices.crop[z], crop.crop_image(study.image[z], boxes[z]), atol=1e-4
        )


@pytest.mark.parametrize(("protocol", "context"), [(1, False), (2, False), (2, True)])
def test_channels_that_a_mask_cut_out_are_constant_around_it(study, protocol, context):
    slices = cut(study, protocol=protocol, context=context)
    around = slices.image[~slices.myocardium]
    constant = np.ptp(slices.image, axis=(1, 2)) > 0
    assert constant.all()  # else what follows says nothing
    same = [
        len(np.unique(around[:, c])) <= len(slices.image)
        for c in range(around.shape[1])
    ]
    assert same == crop.cut_out_channels(protocol=protocol, context=context).tolist()


def test_protocol_2_sees_nothing_without_a_myocardium(study):
    bare = dataclasses.replace(study, myocardium=None)
    assert not cut(bare, protocol=2).image.any()
    assert cut(bare, protocol=1).image.any()


def test_the_truth_changes_nothing_that_protocol_1_sees(study):
    bare = dataclasses.replace(study, myocardium=None, scar=None, cavity=None)
    one, other = cut(study, protocol=1), cut(bare, protocol=1)
    for name in ("image", "crop", "centre_px", "side_mm", "pixel_mm"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.fixture
def blob():
    """Returns smooth (3, 72, 80) values up to 1 about where the hearts are."""
    y, x = np.mgrid[:72, :80]
    shifts = np.array([-3, 0, 5])[:, None, None]
    return np.exp(-((y - 36 - shifts) ** 2 + (x - 41) ** 2) / (2 * 6.0**2))


def crops_of(blob, slices):
    return np.stack([crop.crop_image(b, box_of(slices, z)) for z, b in enumerate(blob)])


def scar_on_grid(crops, slices, study, *, protocol=2, inside=None):
    """Returns where probabilities of scar alone come to lie."""
    view = View(protocol, False, 0, "hough", "scar")
    return on_native_grid(
        Said(slices, crops[None, ..., None]), study, view, inside=inside
    ).scar


def test_a_smooth_blob_goes_into_the_crops_and_back(study, blob):
    slices = cut(study, protocol=1)
    native = scar_on_grid(crops_of(blob, slices), slices, study)
    np.testing.assert_allclose(native, blob, atol=0.02)
    assert native.dtype == np.float32
    assert native.shape == study.image.shape


def test_outside_the_crops_no_scar_is_probable(study):
    slices = cut(study, protocol=1)
    sure = np.ones((3, 64, 64))
    native = scar_on_grid(sure, slices, study)
    y, x = np.mgrid[:72, :80]
    for z, plane in enumerate(native):
        down, right = (i - c for i, c in zip((y, x), slices.centre_px[z], strict=True))
        half_px = slices.side_mm[z] / 2 / SPACING_MM[1]
        inside = np.maximum(np.abs(down), np.abs(right)) <= half_px
        assert inside.any()
        assert not inside.all()
        np.testing.assert_allclose(plane, inside, atol=1e-6)


def test_inside_a_mask_is_the_same_and_0_outside(study, blob):
    slices = cut(study, protocol=2)
    crops = crops_of(blob, slices)
    one, two = (
        scar_on_grid(crops, slices, study, inside=inside)
        for inside in (None, study.myocardium)
    )
    assert not two[~study.myocardium].any()
    assert one[~study.myocardium].any()
    np.testing.assert_array_equal(two[study.myocardium], one[study.myocardium])
    assert two.any()
    assert two.dtype == np.float32


def test_protocol_3_calls_scar_inside_the_wall_that_it_finds(study):
    slices = cut(study, protocol=3)
    drawn = {"cavity": study.cavity, "wall": study.myocardium & ~study.scar}
    said = np.stack(
        [
            np.stack(
                [
                    crop.crop_image(m.astype(np.float32), box_of(slices, z))
                    for z, m in m3
                ]
            )
            for m3 in (
                list(enumerate(mask))
                for mask in (drawn["cavity"], drawn["wall"], study.scar)
            )
        ],
        axis=-1,
    )
    everywhere = np.full_like(said[..., 2:], 0.01)  # faintly, of scar
    said[..., 2:] = np.maximum(said[..., 2:], everywhere)
    view = View(3, False, 0, "hough", "heart_scar")
    found = on_native_grid(Said(slices, said[None]), study, view)
    assert found.ventricle is not None
    for name in ("myocardium", "cavity"):
        mine, true = getattr(found.ventricle, name), getattr(study, name)
        assert 2 * (mine & true).sum() / (mine.sum() + true.sum()) > 0.9, name
    assert not found.scar[~found.ventricle.myocardium].any()
    assert found.scar[found.ventricle.myocardium].all()
    # With a myocardium put in, that one counts.
    given = on_native_grid(
        Said(slices, said[None]), study, view, inside=study.myocardium
    )
    assert given.ventricle is None
    np.testing.assert_array_equal(given.scar > 0, study.myocardium)
