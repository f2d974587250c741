import csv
import dataclasses
import io

import numpy as np
import pytest

from scarseg_jax import records
from scarseg_jax.errors import InputError
from scarseg_jax.measure.numbers import ByIntensity, Numbers, columns, measure, to_csv
from scarseg_jax.measure.segments import from_insertions
from scarseg_jax.measure.zones import find_zones
from scarseg_jax.readers import emidec as emidec_reader
from tests.hearts import heart, scar_of

WALL_ML = np.pi * (30**2 - 20**2) * 90 / 1000


def full():
    """A heart of which all is known."""
    study = heart()
    scar, dark = scar_of(study, 120, 90), scar_of(study, 150, 20, depth=0.5)
    image = np.where(scar & ~dark, 180, study.image).astype(np.float32)
    study = dataclasses.replace(study, image=image)
    zones = find_zones(
        *(image, np.asarray(study.myocardium), "yan_2006"),
        phase_sensitive=True,
        remote=scar_of(study, 300, 40),
        no_reflow=dark,
    )
    reference = from_insertions(study, (4, 8.0, 19.0))
    one = ByIntensity(
        "5sd", "w", "r", "drawn", (0,), (1.0,), (2.0,), (3,), (11.0,), 4, 5
    )
    return measure(
        *(study, scar),
        no_reflow=dark,
        reference=reference,
        zones=zones,
        by_intensity=[one],
    )


def test_a_quarter_of_the_wall_is_a_quarter_of_its_mass():
    numbers = full()
    assert numbers.lv_volume_ml == pytest.approx(WALL_ML, rel=0.01)
    assert numbers.lv_mass_g == pytest.approx(1.05 * WALL_ML, rel=0.01)
    assert numbers.scar_mass_g == pytest.approx(1.05 * WALL_ML / 4, rel=0.01)
    assert numbers.scar_of_lv_percent == pytest.approx(25, abs=0.1)
    assert numbers.transmurality_percent == pytest.approx(25, abs=1)
    # (25^2 - 20^2) / (30^2 - 20^2) of 20 of 90 degrees
    assert numbers.no_reflow_of_scar_percent == pytest.approx(10, abs=0.5)
    assert numbers.no_reflow_of_lv_percent == pytest.approx(2.5, abs=0.1)
    assert numbers.zones is not None
    assert numbers.zones.core_mass_g == pytest.approx(numbers.scar_mass_g)
    assert numbers.zones.grey_mass_g == 0
    assert numbers.referenced


def test_twice_the_spacing_is_eight_times_the_mass():
    small = heart()
    large = heart(spacing_mm=(20.0, 2.0, 2.0))
    large = dataclasses.replace(small, geometry=large.geometry)
    one, other = (measure(s, scar_of(small, 0, 90)) for s in (small, large))
    assert other.scar_mass_g == pytest.approx(8 * one.scar_mass_g)
    assert other.scar_of_lv_percent == pytest.approx(one.scar_of_lv_percent)


def test_no_scar_is_none_of_the_heart():
    study = heart()
    numbers = measure(study, np.zeros(study.image.shape, bool))
    assert (numbers.scar_mass_g, numbers.scar_of_lv_percent) == (0, 0)
    assert numbers.transmurality_percent == 0
    assert numbers.transmurality_of_scar_percent is None
    assert numbers.no_reflow_mass_g is None
    assert numbers.slices_with_scar == ()


def test_scar_of_all_the_wall_is_all_of_it():
    study = heart()
    numbers = measure(study, np.asarray(study.myocardium))
    assert numbers.scar_of_lv_percent == 100
    assert numbers.transmurality_percent == 100


def test_no_reflow_is_scar_though_the_mask_lacks_it():
    study = heart()
    scar, dark = scar_of(study, 0, 90), scar_of(study, 30, 20)
    whole = measure(study, scar, no_reflow=dark)
    assert measure(study, scar & ~dark, no_reflow=dark) == whole
    assert not (scar_of(study, 0, 90) ^ scar).any()  # the mask is left as it was


def test_without_myocardium_the_scar_has_a_size_alone():
    study = dataclasses.replace(heart(), myocardium=None, cavity=None)
    numbers = measure(study, scar_of(heart(), 0, 90))
    assert numbers.scar_volume_ml == pytest.approx(WALL_ML / 4, rel=0.01)
    assert numbers.lv_mass_g is None
    assert numbers.scar_of_lv_percent is None
    assert numbers.segments == ()
    assert "no myocardium" in numbers.warnings[0]


def test_scar_outside_the_myocardium_counts_and_is_said():
    study = heart()
    scar = scar_of(study, 0, 90)
    scar[4, 34, 34] = True
    numbers = measure(study, scar)
    assert numbers.scar_volume_ml > measure(study, scar_of(study, 0, 90)).scar_volume_ml
    assert "0.01 ml of the scar lie outside" in numbers.warnings[0]


def test_a_single_slice_is_measured():
    study = heart(1)
    numbers = measure(study, scar_of(study, 0, 90))
    assert numbers.scar_of_lv_percent == pytest.approx(25, abs=0.1)
    assert numbers.transmurality_of_scar_percent is not None
    assert len(numbers.segments) == 17


def test_a_mask_on_another_grid_is_refused():
    with pytest.raises(InputError, match="scar: a mask of shape"):
        measure(heart(3), scar_of(heart(4), 0, 90))


def test_masks_of_numbers_are_masks():
    study = heart()
    scar, dark = scar_of(study, 0, 90), scar_of(study, 30, 20)
    numbered = measure(study, 3 * scar.astype(np.int8), no_reflow=4.0 * dark)
    assert numbered == measure(study, scar, no_reflow=dark)


def bare():
    study = dataclasses.replace(heart(1), myocardium=None, cavity=None)
    return measure(study, scar_of(heart(1), 0, 90))


@pytest.mark.parametrize("numbers", [full(), bare()])
def test_numbers_go_to_json_and_back(numbers):
    text = records.to_json(numbers)
    assert records.parse(Numbers, text, "numbers.json", "measure again") == numbers


def test_a_table_has_a_line_for_each_heart_whatever_is_known():
    rows = list(csv.DictReader(io.StringIO(to_csv([columns(full()), columns(bare())]))))
    assert len(rows) == 2
    assert float(rows[0]["scar_mass_g"]) == full().scar_mass_g
    assert rows[0]["zones_definition"] == "yan_2006"
    assert float(rows[0]["zones_remote_mean"]) == 50
    assert float(rows[0]["segment_02_scar_of_segment_percent"]) > 0
    assert rows[0]["5sd_remote_pixels"] == "3"
    assert rows[0]["fwhm_above"] == rows[1]["5sd_scar_mass_g"] == ""
    assert rows[1]["lv_mass_g"] == rows[1]["segment_17_volume_ml"] == ""
    assert to_csv([]).strip() == ""


def test_real_hearts_have_plausible_numbers(emidec):
    for name in emidec_reader.list_patients(emidec)[::8]:
        study = emidec_reader.read_study(emidec, name)
        if study.scar is None:
            continue
        numbers = measure(study, study.scar, no_reflow=study.no_reflow)
        assert numbers.lv_mass_g is not None
        assert 50 < numbers.lv_mass_g < 300
        assert numbers.scar_of_lv_percent is not None
        assert 0 <= numbers.scar_of_lv_percent < 60
        # Lines and areas differ, and not by much.
        assert numbers.transmurality_percent == pytest.approx(
            numbers.scar_of_lv_percent, abs=6
        )
