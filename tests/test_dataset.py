import dataclasses

import numpy as np
import pytest
from builders import SPACING_MM, draw_study, source_of, turned

from scarseg_jax.errors import InputError
from scarseg_jax.judge.consensus import settle
from scarseg_jax.prepare import crop, dataset
from scarseg_jax.prepare.cut import box_of, cut
from scarseg_jax.readers.sources import Source
from scarseg_jax.study import Slices

PATIENTS = ("Åsa", "b", "c")


@pytest.fixture
def studies():
    named = {p: draw_study(p, seed=i, slices=2 + i) for i, p in enumerate(PATIENTS)}
    nothing = dict.fromkeys(("myocardium", "scar", "cavity"))
    named["c"] = dataclasses.replace(named["c"], **nothing)
    return named


def prepare(directory, studies, files=None, **options):
    options = {"protocol": 1, **options}
    return dataset.prepare(directory, source_of(studies, files), **options)


def refuse(patient):
    raise AssertionError(f"{patient} is read again")


@pytest.mark.parametrize("protocol", [1, 2])
def test_slices_come_back_as_they_were_made_and_in_order(tmp_path, studies, protocol):
    slices = prepare(tmp_path, studies, protocol=protocol).slices
    made = Slices.concatenate([cut(s, protocol=protocol) for s in studies.values()])
    for name, wanted in vars(made).items():
        column = getattr(slices, name)
        assert column.dtype == wanted.dtype
        np.testing.assert_array_equal(column, wanted)
    assert slices.patient.tolist() == ["Åsa"] * 2 + ["b"] * 3 + ["c"] * 4
    assert slices.slice.tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert slices.labelled.tolist() == [True] * 5 + [False] * 4
    assert slices.image.dtype == slices.crop.dtype == slices.pixel_mm.dtype == "f4"
    assert slices.scar.dtype == slices.myocardium.dtype == slices.contained.dtype == "?"
    assert slices.image.shape == (9, 64, 64, 1)


def test_studies_come_back_voxel_for_voxel(tmp_path, studies, rng):
    no_reflow = studies["b"].scar & (rng.random(studies["b"].scar.shape) < 0.3)
    geometry = turned(studies["b"].geometry)
    geometry.affines[1, :3, 3] += 1 / 3, np.pi, -1e-9  # a breath-hold of its own
    changed = {"no_reflow": no_reflow, "geometry": geometry}
    studies["b"] = dataclasses.replace(studies["b"], **changed)
    found = prepare(tmp_path, studies).studies
    assert [study.patient for study in found] == list(PATIENTS)
    for study, made in zip(found, studies.values(), strict=True):
        assert study.image.dtype == np.float32
        np.testing.assert_array_equal(study.image, made.image)
        assert study.geometry.affines.dtype == np.float64
        np.testing.assert_array_equal(study.geometry.affines, made.geometry.affines)
        assert study.spacing_mm == made.spacing_mm
        for name, mask in made.masks.items():
            again = study.masks[name]
            if mask is None:
                assert again is None
                continue
            assert again is not None
            assert again.dtype == bool
            np.testing.assert_array_equal(again, mask)
    there = {
        s.patient: [n for n, mask in s.masks.items() if mask is not None] for s in found
    }
    assert there == {
        "Åsa": ["cavity", "myocardium", "scar"],
        "b": ["cavity", "myocardium", "scar", "no_reflow"],
        "c": [],
    }


@pytest.mark.parametrize("absent", ["cavity", "myocardium", "scar"])
def test_a_mask_that_is_empty_is_not_one_that_is_absent(tmp_path, studies, absent):
    empty = np.zeros(studies["b"].image.shape, bool)
    masks = dict.fromkeys(("cavity", "myocardium", "scar", "no_reflow"), empty)
    studies["b"] = dataclasses.replace(studies["b"], **{**masks, absent: None})
    _, study, _ = prepare(tmp_path, studies, force=True).studies
    assert [name for name, mask in study.masks.items() if mask is None] == [absent]
    assert not any(np.any(m) for m in study.masks.values() if m is not None)


def test_spacings_that_single_precision_cannot_hold_come_back(tmp_path, studies):
    spacing_mm = (10.1, 2.4999999, 2.5000001)
    for name, study in studies.items():
        geometry = dataclasses.replace(study.geometry, spacing_mm=spacing_mm)
        studies[name] = dataclasses.replace(study, geometry=geometry)
    prepared = prepare(tmp_path, studies)
    assert {study.spacing_mm for study in prepared.studies} == {spacing_mm}
    assert np.unique(prepared.slices.spacing_mm, axis=0).tolist() == [list(spacing_mm)]


def test_protocol_2_sees_the_myocardium_and_protocol_1_the_crop(tmp_path, studies):
    one = prepare(tmp_path / "1", studies, protocol=1).slices
    two = prepare(tmp_path / "2", studies, protocol=2).slices
    np.testing.assert_array_equal(one.crop, two.crop)
    for i in np.flatnonzero(one.labelled):
        for protocol, slices in ((1, one), (2, two)):
            seen = crop.network_input(one.crop[i], one.myocardium[i], protocol=protocol)
            np.testing.assert_array_equal(slices.image[i], seen)


def test_the_crop_says_where_it_was_cut(tmp_path, studies):
    slices = prepare(tmp_path, studies).slices
    np.testing.assert_allclose(slices.pixel_mm * crop.SIZE, slices.side_mm)
    for i, (y, x) in enumerate(slices.centre_px.tolist()):
        study = studies[str(slices.patient[i])]
        box = crop.CropBox((y, x), float(slices.side_mm[i]), SPACING_MM[1:])
        assert box == box_of(slices, i)
        again = crop.crop_image(study.image[slices.slice[i]], box)
        np.testing.assert_array_equal(slices.crop[i], again)


def test_a_crop_that_cuts_the_myocardium_says_so(tmp_path, studies):
    assert prepare(tmp_path, studies).slices.contained.all()
    myocardium = studies["b"].myocardium.copy()
    myocardium[1] = True
    studies["b"] = dataclasses.replace(studies["b"], myocardium=myocardium)
    contained = prepare(tmp_path, studies, force=True).slices.contained
    assert np.flatnonzero(~contained).tolist() == [3]


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
    first = prepare(tmp_path, studies, files)
    again = dataset.prepare(tmp_path, Source(PATIENTS, refuse, files), protocol=1)
    loaded = dataset.load(tmp_path)
    assert first.data_hash == again.data_hash == loaded.data_hash
    np.testing.assert_array_equal(first.slices.image, again.slices.image)


@pytest.mark.parametrize(
    "change", ["bytes", "name", "contours", "patients", "protocol"]
)
def test_what_has_changed_is_prepared_anew(tmp_path, studies, files, change):
    before = prepare(tmp_path, studies, files)
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
    source = Source(
        tuple(studies), lambda patient: read.append(patient) or studies[patient], files
    )
    after = dataset.prepare(tmp_path, source, protocol=protocol)
    assert read == list(studies)
    assert after.data_hash != before.data_hash
    assert dataset.load(tmp_path).data_hash == after.data_hash


def test_studies_without_files_are_known_by_their_voxels(tmp_path, studies):
    before = prepare(tmp_path, studies)
    assert prepare(tmp_path, studies).data_hash == before.data_hash
    studies["b"].image[0, 0, 0] += 1
    assert prepare(tmp_path, studies).data_hash != before.data_hash


@pytest.mark.parametrize("name", ["cavity", "myocardium", "scar", "no_reflow"])
def test_studies_without_files_are_known_by_their_masks(tmp_path, studies, name):
    before = prepare(tmp_path, studies)
    other = np.zeros(studies["b"].image.shape, bool)
    studies["b"] = dataclasses.replace(studies["b"], **{name: other})
    assert prepare(tmp_path, studies, force=True).data_hash != before.data_hash


def test_studies_without_files_are_known_by_where_they_lie(tmp_path, studies):
    before = prepare(tmp_path, studies)
    studies["b"].geometry.affines[1:, 2, 3] -= 1
    after = prepare(tmp_path, studies)
    assert after.data_hash != before.data_hash
    np.testing.assert_array_equal(after.studies[1].geometry.positions_mm, [0, 11, 21])


def test_several_readers_are_kept_and_the_rule_matters(tmp_path, studies):
    drawn = studies["b"].scar
    one = prepare(tmp_path, studies)
    readers = {"x": drawn, "y": drawn, "z": np.roll(drawn, 3, axis=2)}
    studies["b"] = dataclasses.replace(studies["b"], scar=None, readers=readers)
    several = prepare(tmp_path, studies)
    np.testing.assert_array_equal(several.slices.scar, one.slices.scar)
    np.testing.assert_array_equal(several.studies[1].scar, drawn)
    assert not several.studies[1].readers
    assert one.readers == {}
    assert list(several.readers) == ["b"]
    kept = dataset.load(tmp_path).labelled()
    _, agreement = settle(studies["b"], "staple")
    assert kept.readers == several.readers == {"b": agreement}
    assert kept.readers["b"].readers["x"].dice == 1
    other = prepare(tmp_path, studies, consensus="majority")
    assert other.readers["b"].consensus == "majority"
    readers["y"] = readers["z"]
    changed = prepare(tmp_path, studies)
    assert len({s.data_hash for s in (one, several, other, changed)}) == 4


def test_a_missing_file_is_named(tmp_path, studies):
    with pytest.raises(InputError, match=r"gone\.nii: cannot be read"):
        prepare(tmp_path, studies, lambda patient: [tmp_path / "gone.nii"])


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


def test_a_bit_anywhere_in_the_data_is_refused(tmp_path, studies):
    prepare(tmp_path, studies)
    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert "dataset_info.json" in {p.name for p in kept}
    for path in kept:
        content = path.read_bytes()
        path.write_bytes(bytes([*content[:-9], content[-9] ^ 1, *content[-8:]]))
        with pytest.raises(InputError, match=r"damaged .*delete .* and run again"):
            dataset.load(tmp_path)
        path.write_bytes(content)
    dataset.load(tmp_path)


def test_a_build_that_fails_leaves_nothing_behind(tmp_path, studies, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(dataset.LgeSlices, "download_and_prepare", full)
        with pytest.raises(OSError, match="No space"):
            prepare(tmp_path, studies)
    assert not list(tmp_path.iterdir())
    assert len(prepare(tmp_path, studies).studies) == 3


def test_all_that_is_wrong_with_patients_is_said_at_once(tmp_path, studies):
    def read(patient):
        if patient != "b":
            raise InputError(f"patient {patient}: no good")
        return studies[patient]

    done = []
    with pytest.raises(InputError) as caught:
        dataset.prepare(
            tmp_path,
            Source(PATIENTS, read, lambda patient: []),
            protocol=1,
            progress=lambda *call: done.append(call),
        )
    assert str(caught.value).splitlines() == [
        "2 of 3 patients cannot be used:",
        "patient Åsa: no good",
        "patient c: no good",
    ]
    assert done[-1] == (3, 3)


def test_an_empty_folder_has_nothing_prepared(tmp_path):
    with pytest.raises(InputError, match="nothing prepared"):
        dataset.load(tmp_path)


def test_scar_needs_its_myocardium_under_protocol_2_only(tmp_path, studies):
    studies["b"] = dataclasses.replace(studies["b"], myocardium=None)
    assert prepare(tmp_path, studies, protocol=1).slices.labelled.sum() == 5
    with pytest.raises(InputError, match="patient b: scar but no myocardium"):
        prepare(tmp_path, studies, protocol=2)


@pytest.mark.parametrize("change", ["nothing", "rescaled", "noisy", "flipped"])
def test_one_image_under_two_names_is_refused(tmp_path, studies, rng, change):
    image = studies["b"].image
    image = {
        "nothing": image,
        "rescaled": 100 + 3 * image,
        "noisy": image + rng.normal(0, 0.1 * image.std(), image.shape),
        "flipped": image[:, :, ::-1],
    }[change].astype(np.float32)
    studies["c"] = dataclasses.replace(
        studies["c"], image=image[:3], geometry=studies["b"].geometry
    )
    words = r"b and c have the same image \(.*leave_out=c"
    with pytest.raises(InputError, match=words):
        prepare(tmp_path, studies)


def test_masks_that_cannot_be_a_ventricles_are_refused_or_forced(
    tmp_path, studies, caplog
):
    filled = studies["b"].myocardium | studies["b"].cavity
    studies["b"] = dataclasses.replace(studies["b"], myocardium=filled)
    with pytest.raises(InputError, match="patient b: the myocardium has no cavity"):
        prepare(tmp_path, studies)
    assert not caplog.text
    prepare(tmp_path, studies, force=True)
    assert "patient b: the myocardium has no cavity" in caplog.text


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
    moved = np.roll(studies["b"].scar, 2, axis=2)
    outside = 100 * np.mean(~studies["b"].myocardium[moved])
    studies["b"] = dataclasses.replace(studies["b"], scar=moved)
    prepare(tmp_path, studies, protocol=2)
    assert f"patient b: {outside:.1f} % of the scar lies outside" in caplog.text


def test_a_constant_image_is_refused(tmp_path, studies):
    flat = np.full_like(studies["b"].image, 7)
    studies["b"] = dataclasses.replace(studies["b"], image=flat)
    with pytest.raises(InputError, match="patient b: all voxels are 7; expected an"):
        prepare(tmp_path, studies)


def test_files_cut_along_another_axis_are_another_data_set(tmp_path, studies):
    source = source_of(studies)
    found = [
        dataset.prepare(
            tmp_path, dataclasses.replace(source, slice_axis=axis), protocol=2
        )
        for axis in (-1, 0)
    ]
    assert found[0].data_hash != found[1].data_hash


def test_take_selects_the_same_slices_of_every_column(tmp_path, studies):
    slices = prepare(tmp_path, studies).slices
    chosen = slices.take(slices.labelled)
    assert chosen.patient.tolist() == ["Åsa"] * 2 + ["b"] * 3
    np.testing.assert_array_equal(chosen.centre_px, slices.centre_px[:5])


def test_the_labelled_patients_are_taken_with_their_slices(tmp_path, studies):
    prepared = prepare(tmp_path, studies)
    chosen = prepared.labelled()
    assert [study.patient for study in chosen.studies] == ["Åsa", "b"]
    assert chosen.slices.patient.tolist() == ["Åsa"] * 2 + ["b"] * 3
    assert chosen.data_hash == prepared.data_hash
