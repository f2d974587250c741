import dataclasses

import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.prepare import crop, dataset
from scarseg_jax.study import Study

SPACING_MM = (10.0, 2.5, 2.5)
PATIENTS = ("Åsa", "b", "c")


def draw(patient, *, seed, slices=2):
    """Returns a bright blood pool in a dark wall with a bright scar, on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:72, :80]
    radius = np.hypot(y - 36, x - 41) * SPACING_MM[1]
    wall = (radius > 22) & (radius < 33)
    scar = wall & (y > 36) & (x > 41)
    plane = np.where(radius <= 22, 300.0, 120.0) - 100 * wall + 250 * scar
    image = plane + rng.normal(0, 5, (slices, *plane.shape))
    return Study(
        patient,
        image.astype(np.float32),
        SPACING_MM,
        myocardium=np.stack([wall] * slices),
        scar=np.stack([scar] * slices),
    )


@pytest.fixture
def studies():
    named = {p: draw(p, seed=i, slices=2 + i) for i, p in enumerate(PATIENTS)}
    named["c"] = dataclasses.replace(named["c"], myocardium=None, scar=None)
    return named


def prepare(directory, studies, **options):
    options = {"protocol": 1, **options}
    return dataset.prepare(directory, tuple(studies), studies.__getitem__, **options)


def refuse(patient):
    raise AssertionError(f"{patient} is read again")


@pytest.mark.parametrize("protocol", [1, 2])
def test_slices_come_back_as_they_were_made_and_in_order(tmp_path, studies, protocol):
    slices = prepare(tmp_path, studies, protocol=protocol)
    made = [
        example
        for study in studies.values()
        for example in dataset.slice_examples(study, protocol)
    ]
    for name in made[0]:
        wanted = np.stack([example[name] for example in made])
        np.testing.assert_array_equal(
            getattr(slices, name), wanted.astype(getattr(slices, name).dtype)
        )
    assert slices.patient.tolist() == ["Åsa"] * 2 + ["b"] * 3 + ["c"] * 4
    assert slices.slice.tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert slices.labelled.tolist() == [True] * 5 + [False] * 4
    assert slices.image.dtype == slices.crop.dtype == slices.pixel_mm.dtype == "f4"
    assert slices.scar.dtype == slices.myocardium.dtype == slices.contained.dtype == "?"
    assert slices.image.shape == (9, 64, 64, 1)


def test_protocol_2_sees_the_myocardium_and_protocol_1_the_crop(tmp_path, studies):
    one = prepare(tmp_path / "1", studies, protocol=1)
    two = prepare(tmp_path / "2", studies, protocol=2)
    np.testing.assert_array_equal(one.crop, two.crop)
    for i in np.flatnonzero(one.labelled):
        for protocol, slices in ((1, one), (2, two)):
            seen = crop.network_input(one.crop[i], one.myocardium[i], protocol=protocol)
            np.testing.assert_array_equal(slices.image[i, ..., 0], seen)


def test_the_crop_says_where_it_was_cut(tmp_path, studies):
    slices = prepare(tmp_path, studies)
    np.testing.assert_allclose(slices.pixel_mm * crop.SIZE, slices.side_mm)
    for i, (y, x) in enumerate(slices.centre_px.tolist()):
        study = studies[str(slices.patient[i])]
        box = crop.CropBox((y, x), float(slices.side_mm[i]), SPACING_MM[1:])
        again = crop.crop_image(study.image[slices.slice[i]], box)
        np.testing.assert_allclose(slices.crop[i], again, rtol=1e-4)


def test_a_crop_that_cuts_the_myocardium_says_so(tmp_path, studies):
    assert prepare(tmp_path, studies).contained.all()
    myocardium = studies["b"].myocardium.copy()
    myocardium[1] = True
    studies["b"] = dataclasses.replace(studies["b"], myocardium=myocardium)
    assert np.flatnonzero(~prepare(tmp_path, studies).contained).tolist() == [3]


def test_progress_counts_patients_and_nothing_else_is_said(tmp_path, studies, capfd):
    calls = []
    prepare(tmp_path, studies, progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def files(tmp_path, studies):
    """Returns the function that lists a patient's files, here of any content."""
    home = tmp_path / "files"
    home.mkdir()
    for patient in studies:
        (home / f"{patient}_image").write_text(patient)
    return lambda patient: sorted(home.glob(f"{patient}_*"))


def test_unchanged_files_are_not_read_again(tmp_path, studies, files):
    first = prepare(tmp_path, studies, files=files)
    again = dataset.prepare(tmp_path, PATIENTS, refuse, files=files, protocol=1)
    loaded = dataset.load(tmp_path)
    assert first.data_hash == again.data_hash == loaded.data_hash
    np.testing.assert_array_equal(first.image, again.image)


@pytest.mark.parametrize(
    "change", ["bytes", "name", "contours", "patients", "protocol"]
)
def test_what_has_changed_is_prepared_anew(tmp_path, studies, files, change):
    before = prepare(tmp_path, studies, files=files)
    protocol = 1
    if change == "bytes":
        files("b")[0].write_text("other")
    elif change == "name":
        files("b")[0].rename(files("b")[0].with_name("b_scar"))
    elif change == "contours":
        files("c")[0].with_name("c_scar").write_text("new")
    elif change == "patients":
        del studies["c"]
    else:
        protocol = 2
    read = []
    after = dataset.prepare(
        tmp_path,
        tuple(studies),
        lambda patient: read.append(patient) or studies[patient],
        files=files,
        protocol=protocol,
    )
    assert read == list(studies)
    assert after.data_hash != before.data_hash
    assert dataset.load(tmp_path).data_hash == after.data_hash


def test_studies_without_files_are_known_by_their_voxels(tmp_path, studies):
    before = prepare(tmp_path, studies)
    assert prepare(tmp_path, studies).data_hash == before.data_hash
    studies["b"].image[0, 0, 0] += 1
    assert prepare(tmp_path, studies).data_hash != before.data_hash


def test_several_readers_are_kept_and_the_rule_matters(tmp_path, studies):
    drawn = studies["b"].scar
    one = prepare(tmp_path, studies)
    readers = {"x": drawn, "y": drawn, "z": np.roll(drawn, 3, axis=2)}
    studies["b"] = dataclasses.replace(studies["b"], scar=None, readers=readers)
    several = prepare(tmp_path, studies)
    np.testing.assert_array_equal(several.scar, one.scar)
    assert one.readers == {}
    assert list(several.readers) == ["b"]
    kept = dataset.load(tmp_path).take(several.labelled)
    assert kept.readers == several.readers
    assert kept.readers["b"]["readers"]["x"]["dice"] == 1
    other = prepare(tmp_path, studies, consensus="majority")
    assert other.readers["b"]["consensus"] == "majority"
    readers["y"] = readers["z"]
    changed = prepare(tmp_path, studies)
    assert len({s.data_hash for s in (one, several, other, changed)}) == 4


def test_a_missing_file_is_named(tmp_path, studies):
    with pytest.raises(InputError, match=r"gone\.nii: cannot be read"):
        prepare(tmp_path, studies, files=lambda patient: [tmp_path / "gone.nii"])


def test_what_a_killed_build_left_is_cleared_and_other_files_stay(tmp_path, studies):
    data_hash = prepare(tmp_path / "elsewhere", studies).data_hash
    data = tmp_path / "data"
    for home in (data_hash, "0" * 64):
        left = data / home / "lge_slices" / "incomplete.AB12_1.1.0"
        left.mkdir(parents=True)
        (left / "lge_slices-slices.array_record-00000-of-00001").write_bytes(b"half")
    (data / "notes").mkdir()
    assert prepare(data, studies).data_hash == data_hash
    assert not list(data.rglob("incomplete*"))
    assert sorted(p.name for p in data.iterdir()) == sorted([data_hash, "notes"])


@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_damaged_data_are_refused_by_name(tmp_path, studies, damage):
    prepare(tmp_path, studies)
    (file,) = tmp_path.rglob("*array_record*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "truncated":
        content = content[: len(content) // 2]
    file.write_bytes(content)
    if damage == "gone":
        file.unlink()
    with pytest.raises(InputError, match=r"delete .* and run again") as caught:
        dataset.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert "lge_slices" in str(caught.value)


def test_an_empty_folder_has_nothing_prepared(tmp_path):
    with pytest.raises(InputError, match="nothing prepared"):
        dataset.load(tmp_path)


def test_scar_needs_its_myocardium_under_protocol_2_only(tmp_path, studies):
    studies["b"] = dataclasses.replace(studies["b"], myocardium=None)
    assert prepare(tmp_path, studies, protocol=1).labelled.sum() == 5
    with pytest.raises(InputError, match="patient b: scar but no myocardium"):
        prepare(tmp_path, studies, protocol=2)


def test_one_image_under_two_names_is_refused(tmp_path, studies):
    studies["c"] = dataclasses.replace(studies["b"], patient="c")
    with pytest.raises(InputError, match="b and c have the same image"):
        prepare(tmp_path, studies)


def test_no_scar_in_any_patient_is_refused_and_the_old_data_stay(tmp_path, studies):
    before = prepare(tmp_path, studies)
    healthy = {
        name: dataclasses.replace(study, scar=np.zeros(study.image.shape, bool))
        for name, study in studies.items()
    }
    with pytest.raises(InputError, match="none of the 3 patients has scar"):
        prepare(tmp_path, healthy)
    assert dataset.load(tmp_path).data_hash == before.data_hash


def test_scar_outside_the_myocardium_is_reported(tmp_path, studies, caplog):
    prepare(tmp_path, studies)
    assert not caplog.text
    half = studies["b"].myocardium & (np.arange(80) < 45)
    outside = 100 * np.mean(~half[studies["b"].scar])
    studies["b"] = dataclasses.replace(studies["b"], myocardium=half)
    prepare(tmp_path, studies, protocol=2)
    assert f"patient b: {outside:.1f} % of the scar lies outside" in caplog.text


def test_a_constant_image_is_reported_and_prepared(tmp_path, studies, caplog):
    flat = np.full_like(studies["b"].image, 7)
    studies["b"] = dataclasses.replace(studies["b"], image=flat)
    slices = prepare(tmp_path, studies)
    assert "patient b: all voxels have one value" in caplog.text
    assert not slices.image[slices.patient == "b"].any()


def test_take_selects_the_same_slices_of_every_column(tmp_path, studies):
    slices = prepare(tmp_path, studies)
    chosen = slices.take(slices.labelled)
    assert chosen.patient.tolist() == ["Åsa"] * 2 + ["b"] * 3
    np.testing.assert_array_equal(chosen.centre_px, slices.centre_px[:5])
    assert chosen.data_hash == slices.data_hash
