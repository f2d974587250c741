import dataclasses

import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.measure.segments import (
    NAMES,
    bin_of,
    from_insertions,
    from_right_ventricle,
    segments_of,
)
from scarseg_jax.study import Geometry
from tests.hearts import OUTER_MM, heart, polar, quarter_turned, scar_of

SLICES = 9
UPRIGHT = {1: 60, 2: 120, 3: 180, 4: 240, 5: 300, 6: 0}  # where each wall begins


def point(study, angle_deg, z=4):
    """The epicardium at an angle, as (slice, row, column)."""
    y, x = (n / 2 - 0.5 for n in study.image.shape[1:])
    turn = np.radians(angle_deg)
    up, right = OUTER_MM * np.sin(turn), OUTER_MM * np.cos(turn)
    return z, y - up / study.spacing_mm[1], x + right / study.spacing_mm[2]


def percents(study, scar, reference):
    found = segments_of(study, scar, reference)
    return [segment.scar_of_segment_percent for segment in found.each]


def on(slices, scar):
    """The scar in these slices alone."""
    which = np.isin(np.arange(len(scar)), slices)
    return scar & which[:, None, None]


@pytest.mark.parametrize("spacing_mm", [(10.0, 1.0, 1.0), (8.0, 1.6, 1.2)])
@pytest.mark.parametrize(
    ("slices", "start", "width", "number"),
    [
        *(((0, 1, 2), start, 60, wall) for wall, start in UPRIGHT.items()),
        *(((3, 4, 5), start, 60, wall + 6) for wall, start in UPRIGHT.items()),
        *(((6, 7, 8), 45 + 90 * i, 90, 13 + i) for i in range(4)),
    ],
)
def test_a_scarred_segment_is_that_one_alone(spacing_mm, slices, start, width, number):
    study = heart(SLICES, spacing_mm)
    scar = on(slices, scar_of(study, start, width))
    reference = from_insertions(study, point(study, 120))
    expected = [0.0] * 16 + [None]
    expected[number - 1] = 100.0
    assert percents(study, scar, reference) == expected
    found = segments_of(study, scar, reference).each[number - 1]
    assert found.name == NAMES[number - 1]
    assert found.scar_bin == "76-100"
    assert found.transmurality_percent == pytest.approx(100, abs=4)


def test_segments_share_the_wall_by_their_angles():
    study = heart(SLICES, (8.0, 0.5, 0.5))
    found = segments_of(
        study, scar_of(study, 0), from_insertions(study, point(study, 120))
    )
    third_ml = np.pi * (30**2 - 20**2) * 24 / 1000
    for segment in found.each[:12]:
        assert segment.volume_ml == pytest.approx(third_ml / 6, rel=0.01)
    for segment in found.each[12:16]:
        assert segment.volume_ml == pytest.approx(third_ml / 4, rel=0.01)


def test_depth_is_a_share_of_lines_and_extent_of_areas():
    study = heart(SLICES)
    scar = scar_of(study, 120, 60, depth=0.5)
    found = segments_of(study, scar, from_insertions(study, point(study, 120))).each[1]
    assert found.transmurality_percent == pytest.approx(50, abs=3)
    # (25^2 - 20^2) / (30^2 - 20^2)
    assert found.scar_of_segment_percent == pytest.approx(45, abs=2)
    assert found.scar_bin == "26-50"


def test_thirds_end_within_a_slice():
    study = heart(4)
    scar = on([1], scar_of(study, 120, 60))
    found = percents(study, scar, from_insertions(study, point(study, 120, z=1)))
    # Slice 1 is from 10 to 20 of 40 mm, the thirds end at 13.3 and 26.7.
    assert found[1] == pytest.approx(25)
    assert found[7] == pytest.approx(50)
    assert found[13] == 0


def test_thirds_are_of_the_length_where_gaps_differ():
    study = heart(4)
    affines = study.geometry.affines.copy()
    affines[:, 2, 3] = (0, -10, -20, -50)  # extents 10, 10, 20 and 30 mm
    study = dataclasses.replace(study, geometry=Geometry(affines, study.spacing_mm))
    scar = on([3], scar_of(study, 120, 60))
    found = percents(study, scar, from_insertions(study, point(study, 120, z=1)))
    assert found[1] == 0
    assert found[7] == pytest.approx(100 * (140 / 3 - 40) / (70 / 3))
    assert found[13] == pytest.approx(50, abs=1.5)  # it begins at 135 degrees


@pytest.mark.parametrize("start", [0, 75, 160])
def test_a_turned_picture_with_its_insertion_has_the_same_segments(start):
    study = heart(SLICES, (8.0, 1.6, 1.2))
    scar = scar_of(study, start, 100, depth=0.6)
    turned = quarter_turned(dataclasses.replace(study, scar=scar))
    assert turned.scar is not None
    before = percents(study, scar, from_insertions(study, point(study, 120)))
    reference = from_insertions(turned, point(turned, 210))
    assert percents(turned, turned.scar, reference) == pytest.approx(before)


def test_upside_down_anterior_is_inferior():
    study = heart(SLICES)
    scar = scar_of(study, 100, 70) | scar_of(study, 10, 20, depth=0.4)
    ends = point(study, 130), point(study, 250)
    before = percents(study, scar, from_insertions(study, *ends))
    below = [(z, study.image.shape[1] - 1 - y, x) for z, y, x in reversed(ends)]
    after = percents(study, scar[:, ::-1], from_insertions(study, *below))
    mirrored = [4, 3, 2, 1, 6, 5, 10, 9, 8, 7, 12, 11, 15, 14, 13, 16]
    assert [after[i - 1] for i in mirrored] == pytest.approx(before[:16])


def test_a_scaled_heart_has_the_same_shares():
    study = heart(SLICES)
    scar = scar_of(study, 100, 80, depth=0.5)
    reference = from_insertions(study, point(study, 120))
    twice = Geometry.upright(SLICES, (20.0, 2.0, 2.0))
    large = dataclasses.replace(study, geometry=twice)
    one, other = (segments_of(s, scar, reference).each[:16] for s in (study, large))
    for small, big in zip(one, other, strict=True):
        assert small.volume_ml is not None
        assert big.volume_ml == pytest.approx(8 * small.volume_ml)
        for name in ("scar_of_segment_percent", "transmurality_percent"):
            assert getattr(big, name) == pytest.approx(getattr(small, name))


def test_segments_are_centred_on_the_septum_and_the_border_is_told():
    study = heart(SLICES)
    reference = from_insertions(study, point(study, 135), point(study, 235))
    assert reference.mid_septum_deg == pytest.approx(185)
    assert reference.border_off_deg == pytest.approx(10)
    said = segments_of(study, scar_of(study, 0), reference).warnings
    assert any("10 degrees from where segment 1 meets 2" in one for one in said)
    alone = from_insertions(study, point(study, 135))
    assert alone.mid_septum_deg == pytest.approx(195)
    assert alone.border_off_deg == pytest.approx(0)


def test_the_right_ventricle_shows_the_septum():
    study = heart(SLICES)
    radius, angle = polar(study.spacing_mm)
    beside = (radius > OUTER_MM) & (radius < 34) & (np.abs(angle - 170) < 55)
    right = np.stack([beside] * SLICES)
    reference = from_right_ventricle(study, right)
    assert reference.mid_septum_deg == pytest.approx(170, abs=2)  # a pixel
    assert reference.anterior_deg == pytest.approx(115, abs=5)
    assert reference.inferior_deg == pytest.approx(225, abs=5)
    one = from_right_ventricle(study, on([4], right))
    assert one.mid_septum_deg == pytest.approx(reference.mid_septum_deg)


def test_a_right_ventricle_across_the_picture_s_right_edge_is_one():
    study = heart(3)
    radius, angle = polar(study.spacing_mm)
    beside = (radius > OUTER_MM) & ((angle + 50) % 360 < 100)
    reference = from_right_ventricle(study, np.stack([beside] * 3))
    assert (reference.mid_septum_deg + 180) % 360 == pytest.approx(180, abs=1)


def test_without_a_reference_no_angle_is_made_up():
    study = heart(SLICES)
    found = segments_of(study, scar_of(study, 0), None)
    assert not found.referenced
    assert all(segment.volume_ml is None for segment in found.each)
    assert any("where the septum is" in one for one in found.warnings)


def stack_with_ends():
    """An open slice at the base, five rings, and a cap."""
    study = heart(7)
    radius, angle = polar(study.spacing_mm)
    assert study.myocardium is not None
    assert study.cavity is not None
    wall, pool = study.myocardium.copy(), study.cavity.copy()
    wall[0] &= angle > 60
    wall[6], pool[6] = radius < 15, False
    return dataclasses.replace(study, myocardium=wall, cavity=pool), wall


@pytest.mark.parametrize("drawn", [True, False])
def test_ends_that_are_no_rings_are_handled_and_said(drawn):
    study, wall = stack_with_ends()
    study = study if drawn else dataclasses.replace(study, cavity=None)
    found = segments_of(study, on([6], wall), from_insertions(study, point(study, 120)))
    apex = found.each[16]
    assert apex.volume_ml == pytest.approx(np.pi * 15**2 * 10 / 1000, rel=0.02)
    assert apex.scar_of_segment_percent == 100
    assert apex.transmurality_percent is None
    assert found.slices_used == (1, 2, 3, 4, 5, 6)
    basal_ml = sum(segment.volume_ml or 0 for segment in found.each[:6])
    assert basal_ml == pytest.approx(np.pi * 500 * 50 / 3 / 1000, rel=0.01)
    assert found.warnings[0].startswith("Slice 0, not closed around the cavity")
    assert not any("apex" in one for one in found.warnings)


def test_a_stack_that_reaches_neither_end_says_so():
    study = heart(3)
    reference = from_insertions(study, point(study, 120, z=1))
    found = segments_of(study, scar_of(study, 0), reference)
    assert found.each[16].volume_ml is None
    assert "base may reach further" in found.warnings[0]
    assert "does not reach the apex" in found.warnings[1]


@pytest.mark.parametrize("slices", [1, 2])
def test_fewer_than_three_rings_have_no_thirds(slices):
    study = heart(slices)
    reference = from_insertions(study, point(study, 120, z=0))
    found = segments_of(study, scar_of(study, 0), reference)
    assert all(segment.volume_ml is None for segment in found.each)
    assert any("have no thirds" in one for one in found.warnings)


def test_an_undrawn_slice_between_others_is_said():
    study = heart(5)
    assert study.myocardium is not None
    wall = on([0, 1, 3, 4], study.myocardium)
    study = dataclasses.replace(study, myocardium=wall)
    found = segments_of(study, wall, None)
    assert "Slice 2 lies between drawn ones" in found.warnings[0]


def test_what_shows_no_septum_is_refused():
    study, wall = stack_with_ends()
    with pytest.raises(InputError, match=r"insertion in slice 0 .*\[1, 2, 3, 4, 5\]"):
        from_insertions(study, point(study, 120, z=0))
    with pytest.raises(InputError, match=r"row 90, column 8; expected .*68 x 68"):
        from_insertions(study, (4, 90, 8))
    with pytest.raises(InputError, match="right ventricle: a mask of shape"):
        from_right_ventricle(study, wall[1:])
    with pytest.raises(InputError, match="right ventricle of 0 pixels"):
        from_right_ventricle(study, np.zeros_like(wall))


@pytest.mark.parametrize(
    ("percentage", "name"),
    [
        *((0.0, "0"), (0.1, "1-25"), (25.0, "1-25"), (25.1, "26-50")),
        *((50.0, "26-50"), (75.0, "51-75"), (75.1, "76-100"), (100.0, "76-100")),
    ],
)
def test_bins_hold_their_upper_end(percentage, name):
    assert bin_of(percentage) == name


def test_a_chord_of_a_smaller_ring_counts_for_less():
    study = heart(6)
    radius, _ = polar(study.spacing_mm)
    assert study.myocardium is not None
    assert study.cavity is not None
    wall, pool = study.myocardium.copy(), study.cavity.copy()
    wall[1], pool[1] = (radius > 10) & (radius <= 15), radius <= 10
    study = dataclasses.replace(study, myocardium=wall, cavity=pool)
    found = segments_of(
        study, on([1], wall), from_insertions(study, point(study, 120, z=0))
    )
    for segment in found.each[:6]:  # midlines of 12.5 and 25 mm
        assert segment.transmurality_percent == pytest.approx(100 / 3, abs=2)


def test_a_few_pixels_are_no_scarred_segment():
    study = heart(SLICES)
    scar = np.zeros(study.image.shape, bool)
    scar[1, 34, 9:13] = True  # 4 mm2 at the left
    found = segments_of(study, scar, from_insertions(study, point(study, 120))).each[2]
    assert found.scar_of_segment_percent
    assert found.scar_bin == found.transmurality_bin == "0"
