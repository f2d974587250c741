import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.measure.zones import DEFINITIONS, find_zones

# Remote myocardium of mean 100 and SD 10, then a ramp to a maximum of 300.
REMOTE = [90.0, 110.0] * 10
RAMP = list(np.arange(60.0, 301.0, 5.0))


def find(definition, *, phase_sensitive=False, offset=0.0, **masks):
    values = np.array([REMOTE + RAMP]).reshape(1, 1, -1) + offset
    region = np.ones(values.shape, bool)
    remote = np.zeros_like(region)
    remote[..., : len(REMOTE)] = True
    given = {"remote": remote, **masks}
    return values, find_zones(
        values, region, definition, phase_sensitive=phase_sensitive, **given
    )


@pytest.mark.parametrize(
    ("definition", "core_above", "grey_above"),
    [
        *((f"{n}sd", 100 + 10 * n, None) for n in range(1, 7)),
        ("amado_fwhm", 150, None),
        ("engblom_fwhm", 180, None),
        ("remote_fwhm", 200, None),
        ("schmidt_2007", 150, 110),
        ("roes_2009", 150, 105),
        ("yan_2006", 130, 120),
    ],
)
def test_levels_are_those_of_the_definition(definition, core_above, grey_above):
    values, zones = find(definition)
    assert zones.levels.core_above == pytest.approx(core_above)
    np.testing.assert_array_equal(zones.core, values > core_above)
    if grey_above is None:
        assert zones.grey is None
        assert zones.levels.grey_above is None
    else:
        between = (values > grey_above) & (values <= core_above)
        np.testing.assert_array_equal(zones.grey, between)


def test_every_definition_names_its_source():
    assert len(DEFINITIONS) == 12
    assert all(how.source and how.words for how in DEFINITIONS.values())


def test_the_reference_is_kept_with_the_result():
    _, zones = find("yan_2006")
    remote = zones.levels.remote
    assert remote is not None
    assert (remote.mean, remote.sd, remote.peak) == (100, 10, 110)
    assert (remote.pixels, remote.slices) == (20, (0,))
    assert zones.levels.region_pixels == len(REMOTE + RAMP)
    assert zones.levels.maximum == 300


@pytest.mark.parametrize(
    "definition", ["amado_fwhm", "engblom_fwhm", "schmidt_2007", "roes_2009"]
)
def test_half_of_a_maximum_is_refused_where_zero_is_arbitrary(definition):
    with pytest.raises(InputError, match=f"{definition} .*phase-sensitive") as refused:
        find(definition, phase_sensitive=True)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("definition", ["amado_fwhm", "schmidt_2007", "roes_2009"])
def test_a_half_maximum_below_the_remote_mean_is_refused(definition):
    with pytest.raises(InputError, match=r"half of a maximum, 250, .* mean of 300"):
        find(definition, offset=200)
    assert find(definition, offset=-10)[1].core.any()


@pytest.mark.parametrize(
    "definition", [name for name, how in DEFINITIONS.items() if not how.takes_zero]
)
def test_all_others_do_not_see_where_zero_is(definition):
    _, here = find(definition, phase_sensitive=True)
    _, there = find(definition, phase_sensitive=True, offset=-2048)
    np.testing.assert_array_equal(here.core, there.core)
    if here.grey is not None:
        np.testing.assert_array_equal(here.grey, there.grey)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_remote_myocardium_is_asked_for_only_where_it_counts(definition):
    if DEFINITIONS[definition].takes_remote:
        with pytest.raises(InputError, match="without remote pixels"):
            find(definition, remote=None)
    else:
        assert find(definition, remote=None)[1].levels.remote is None


def test_no_reflow_is_core_and_never_grey():
    dark = np.zeros((1, 1, len(REMOTE + RAMP)), bool)
    dark[..., 25:40] = True
    _, zones = find("yan_2006", no_reflow=dark)
    assert zones.grey is not None
    assert zones.core[dark].all()
    assert not zones.grey[dark].any()


def test_unknown_names_and_empty_regions_are_refused():
    with pytest.raises(InputError, match="expected one of 1sd, 2sd"):
        find("fwhm")
    image = np.zeros((1, 2, 2))
    with pytest.raises(InputError, match="region of 0 pixels"):
        find_zones(image, image > 0, "amado_fwhm", phase_sensitive=False)
    with pytest.raises(InputError, match="remote: a mask of shape"):
        find("2sd", remote=np.ones((1, 1, 2), bool))
