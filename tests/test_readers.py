import numpy as np
import pytest
from builders import stored_voxels, write_nifti
from scipy import ndimage

from scarseg_jax.errors import InputError
from scarseg_jax.readers import emidec as emidec_reader
from scarseg_jax.readers import folder, myops, phantom
from scarseg_jax.readers.sources import SOURCES, open_source, spacing_from


@pytest.fixture
def image():
    return stored_voxels()


@pytest.fixture
def emidec_folder(tmp_path, image):
    labels = np.arange(image.size).reshape(image.shape) % 5
    for name, drawn in (("Case_P001", True), ("Case_N002", False)):
        write_nifti(tmp_path / name / "Images" / f"{name}.nii.gz", image)
        if drawn:
            path = tmp_path / name / "Contours" / f"{name}.nii.gz"
            write_nifti(path, labels.astype(np.uint8))
    return tmp_path, labels.transpose(2, 1, 0)


def test_emidec_labels_and_a_case_without_contours(emidec_folder):
    path, labels = emidec_folder
    assert emidec_reader.list_patients(path) == ("Case_N002", "Case_P001")
    study = emidec_reader.read_study(path, "Case_P001")
    np.testing.assert_array_equal(study.myocardium, labels >= 2)
    np.testing.assert_array_equal(study.scar, labels >= 3)
    np.testing.assert_array_equal(study.cavity, labels == 1)
    np.testing.assert_array_equal(study.no_reflow, labels == 4)
    bare = emidec_reader.read_study(path, "Case_N002")
    assert list(bare.masks.values()) == [None] * 4


def test_emidec_refuses_unknown_labels_other_grids_and_nan(emidec_folder, image):
    path, _ = emidec_folder
    contours = path / "Case_P001" / "Contours" / "Case_P001.nii.gz"
    write_nifti(contours, np.full(image.shape, 7, np.uint8))
    with pytest.raises(InputError, match="unknown labels 7"):
        emidec_reader.read_study(path, "Case_P001")
    write_nifti(contours, np.zeros((12, 10, 5), np.uint8))
    with pytest.raises(InputError, match="5 slices of 10 x 12 pixels, but"):
        emidec_reader.read_study(path, "Case_P001")
    image[3, 3, 1] = np.nan
    write_nifti(path / "Case_N002" / "Images" / "Case_N002.nii.gz", image)
    with pytest.raises(InputError, match="1 NaN or infinite voxels in slices 1"):
        emidec_reader.read_study(path, "Case_N002")


@pytest.mark.parametrize("reader", [emidec_reader, folder, myops])
@pytest.mark.parametrize("name", ["empty", "absent"])
def test_a_folder_of_another_layout_is_refused_by_name(tmp_path, reader, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"{name}: no .* expected .* data.path"):
        reader.list_patients(tmp_path / name)


def test_the_files_of_a_study_are_those_listed(emidec_folder, image):
    path, _ = emidec_folder
    for patient, count in (("Case_P001", 2), ("Case_N002", 1)):
        files = emidec_reader.read_study(path, patient).files
        assert files == emidec_reader.list_files(path, patient)
        assert len(files) == count
    write_nifti(path / "p_image.nii", image)
    write_nifti(path / "p_scar.nii", (image > 100).astype(np.uint8))
    assert folder.read_study(path, "p").files == folder.list_files(path, "p")
    assert folder.read_study(path, "p").myocardium is None
    write_nifti(path / "m_LGE.nii.gz", image)
    assert myops.read_study(path, "m").files == myops.list_files(path, "m")


@pytest.mark.parametrize("nested", [True, False])
def test_myops_labels(tmp_path, image, nested):
    home = tmp_path / "case7" if nested else tmp_path
    labels = np.resize([0, 200, 500, 600, 1220, 2221], image.shape).astype(np.int16)
    write_nifti(home / "case7_LGE.nii.gz", image)
    write_nifti(home / "case7_gd.nii.gz", labels)
    assert myops.list_patients(tmp_path) == ("case7",)
    study = myops.read_study(tmp_path, "case7")
    labels = labels.transpose(2, 1, 0)
    np.testing.assert_array_equal(study.myocardium, np.isin(labels, (200, 1220, 2221)))
    np.testing.assert_array_equal(study.scar, labels == 2221)
    np.testing.assert_array_equal(study.cavity, labels == 500)
    assert study.no_reflow is None


def test_myops_refuses_one_name_for_two_patients(tmp_path, image):
    for home in ("a", "b"):
        write_nifti(tmp_path / home / "x_LGE.nii.gz", image)
    with pytest.raises(InputError, match="patient x"):
        myops.list_patients(tmp_path)


def test_folder_reads_masks_of_either_value(tmp_path, image):
    write_nifti(tmp_path / "p1_image.nii.gz", image)
    write_nifti(tmp_path / "p1_myocardium.nii", ((image > 100) * 255).astype(np.uint8))
    write_nifti(tmp_path / "p1_scar.nii.gz", (image > 120).astype(np.uint8))
    write_nifti(tmp_path / "p2_image.nii", image + 1)
    assert folder.list_patients(tmp_path) == ("p1", "p2")
    study = folder.read_study(tmp_path, "p1")
    np.testing.assert_array_equal(study.myocardium, study.image > 100)
    np.testing.assert_array_equal(study.scar, study.image > 120)
    assert study.cavity is None
    assert study.no_reflow is None
    assert folder.read_study(tmp_path, "p2").scar is None


def test_folder_refuses_doubles_and_label_maps(tmp_path, image):
    write_nifti(tmp_path / "p1_image.nii.gz", image)
    write_nifti(tmp_path / "p1_image.nii", image)
    with pytest.raises(InputError, match="keep one"):
        folder.read_study(tmp_path, "p1")
    (tmp_path / "p1_image.nii").unlink()
    write_nifti(
        tmp_path / "p1_scar.nii.gz", np.resize([0, 1, 2], image.shape).astype(np.uint8)
    )
    with pytest.raises(InputError, match="2 values beside 0"):
        folder.read_study(tmp_path, "p1")


@pytest.fixture
def several(tmp_path, image):
    """Returns what writes one of a patient's masks, and reads the patient."""

    def draw(name, least, affine=None):
        write_nifti(
            tmp_path / f"{name}.nii.gz", (image > least).astype(np.uint8), affine
        )

    for patient in ("a", "a_scar", "a_scar_b"):
        write_nifti(tmp_path / f"{patient}_image.nii.gz", image)
    return draw, lambda patient: folder.read_study(tmp_path, patient)


def test_folder_keeps_each_of_several_readers(several, image):
    draw, read = several
    draw("a_scar_dr_no", 110)
    draw("a_scar_[2]", 120)
    study = read("a")
    assert study.scar is None
    assert list(study.readers) == ["[2]", "dr_no"]
    np.testing.assert_array_equal(study.readers["dr_no"], image.T > 110)
    np.testing.assert_array_equal(study.readers["[2]"], image.T > 120)
    assert [file.name for file in study.files[1:]] == [
        f"a_scar_{reader}.nii.gz" for reader in study.readers
    ]


def test_a_file_that_fits_two_patients_is_that_of_the_longer_name(several, image):
    draw, read = several
    for name in ("a_scar_b_scar", "a_scar_b_myocardium", "a_scar_scar_x"):
        draw(name, 110)
    draw("a_scar_only", 120)
    found = {
        p: [f.name for f in read(p).files[1:]] for p in ("a", "a_scar", "a_scar_b")
    }
    assert found == {
        "a": ["a_scar_only.nii.gz"],
        "a_scar": ["a_scar_scar_x.nii.gz"],
        "a_scar_b": ["a_scar_b_myocardium.nii.gz", "a_scar_b_scar.nii.gz"],
    }
    # A single reader's is simply the scar.
    assert not read("a").readers
    np.testing.assert_array_equal(read("a").scar, image.T > 120)


def test_readers_scars_are_refused_beside_a_scar_and_on_other_grids(several):
    draw, read = several
    draw("a_scar_x", 110)
    draw("a_scar_y", 110, np.diag([-1.5, -1.5, -9.0, 1.0]))
    with pytest.raises(
        InputError, match=r"a_scar_y\.nii\.gz: its grid lies up to 3 mm"
    ):
        read("a")
    draw("a_scar", 110)
    with pytest.raises(
        InputError, match=r"a_scar_x\.nii\.gz is there as well"
    ) as caught:
        read("a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", ["emidec", "folder", "myops"])
def test_what_other_systems_leave_behind_is_no_patient(tmp_path, image, layout):
    names = {
        "emidec": ("Case_a/Images/Case_a.nii.gz", "Case_a/Contours/Case_a.nii.gz"),
        "folder": ("a_image.nii", "a_scar_one.nii", "a_scar_two.nii"),
        "myops": ("a_LGE.nii.gz", "case_b/b_LGE.nii.gz"),
    }[layout]
    for name in names:
        path = write_nifti(tmp_path / name, np.zeros_like(image, np.uint8))
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
        path.with_name(".DS_Store").write_bytes(b"\0")
    write_nifti(tmp_path / ".Trash" / "c_LGE.nii.gz", image)
    source = open_source(layout, str(tmp_path))
    expected = {"emidec": ("Case_a",), "folder": ("a",), "myops": ("a", "b")}[layout]
    assert source.patients == expected
    assert source.files is not None
    for patient in expected:
        assert not any(file.name.startswith(".") for file in source.files(patient))
        source.read(patient)


@pytest.mark.parametrize(
    ("patient", "spacing_mm", "shape"),
    [
        ("Case_P100", (13, 1.40625, 1.40625), (7, 258, 248)),
        ("Case_N006", (10, 1.4583333, 1.4583333), (9, 246, 148)),
    ],
)
def test_real_spacing_stands_in_pixdim(emidec, patient, spacing_mm, shape):
    study = emidec_reader.read_study(emidec, patient)
    np.testing.assert_allclose(study.spacing_mm, spacing_mm)
    assert study.image.shape == shape
    assert study.scar is not None
    assert study.scar.any() == (patient == "Case_P100")
    np.testing.assert_allclose(study.geometry.extents_mm, spacing_mm[0])
    assert study.myocardium is not None
    assert study.cavity is not None
    filled = [ndimage.binary_fill_holes(ring) for ring in study.myocardium]
    assert study.cavity.any()
    assert not (study.cavity & ~np.array(filled)).any()


def test_real_stacks_run_from_base_to_apex_and_are_seen_from_the_apex(emidec):
    for patient in emidec_reader.list_patients(emidec):
        study = emidec_reader.read_study(emidec, patient)
        assert study.cavity is not None
        area = study.cavity.sum(axis=(1, 2))
        assert np.corrcoef(area, np.arange(len(area)))[0, 1] < 0
        assert study.geometry.orientation_marks == ("R", "L", "A", "P")


def test_a_source_has_a_layouts_patients_and_files(emidec_folder):
    path, labels = emidec_folder
    source = open_source("emidec", str(path))
    assert source.patients == ("Case_N002", "Case_P001")
    np.testing.assert_array_equal(source.read("Case_P001").scar, labels >= 3)
    assert source.files is not None
    assert source.files("Case_P001") == emidec_reader.list_files(path, "Case_P001")


def test_the_phantom_has_no_files_and_the_patients_that_its_seed_gives():
    source = open_source("phantom", "", phantom_patients=3, phantom_seed=5)
    assert source.patients == phantom.list_patients(3)
    assert source.files is None
    ours = source.read("phantom_002")
    theirs = phantom.simulate_study("phantom_002", seed=5)
    np.testing.assert_array_equal(ours.image, theirs.image)


def test_chosen_patients_are_sorted_and_must_be_there():
    some = ("phantom_004", "phantom_002")
    assert open_source("phantom", "", patients=some).patients == some[::-1]
    with pytest.raises(InputError, match=r"names nobody; expected some of phantom_001"):
        open_source("phantom", "", patients=("phantom_001", "nobody"))


def test_a_layout_needs_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"data\.path is empty"):
        open_source("folder", "")
    with pytest.raises(InputError, match="absent: no such folder"):
        open_source("folder", str(tmp_path / "absent"))


def test_the_spacing_stands_in_pixdim_in_one_layout_only():
    assert {s for s in SOURCES if spacing_from(s) == "pixdim"} == {"emidec"}
    assert {spacing_from(s) for s in SOURCES} == {"pixdim", "affine"}


LAYOUTS = {
    "folder": ("p1_image.nii.gz", "p1_myocardium.nii", "p1_scar_x.nii.gz"),
    "myops": ("c1/c1_LGE.nii.gz", "c1/c1_gd.nii.gz", "c1/c1_T2.nii.gz"),
    "emidec": (
        "Case_P001/Images/Case_P001.nii.gz",
        "Case_P001/Contours/Case_P001.nii.gz",
        "Case_P001.txt",
    ),
}


def lay(home, layout):
    """Makes the files of a patient, empty."""
    for name in LAYOUTS[layout]:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    return home


@pytest.mark.parametrize("layout", LAYOUTS)
def test_right_names_and_hidden_files_are_passed_over_in_silence(
    tmp_path, layout, caplog
):
    home = lay(tmp_path, layout)
    for hidden in (".DS_Store", "._p1_Scar.nii.gz", "._c1_gd.NII.GZ"):
        (home / hidden).touch()
    assert len(open_source(layout, str(home)).patients) == 1
    assert not caplog.text


@pytest.mark.parametrize(
    ("layout", "name", "right"),
    [
        ("folder", "p1_Scar.nii.gz", "p1_scar.nii.gz"),
        ("folder", "p1_scar.NII.GZ", "p1_scar.nii.gz"),
        ("folder", "P1_scar.nii", "p1_scar.nii"),
        ("folder", "p1_SCAR_Ann.Nii", "p1_scar_Ann.nii"),
        ("folder", "p2_IMAGE.nii", "p2_image.nii"),
        ("myops", "c1/c1_GD.nii.gz", "c1/c1_gd.nii.gz"),
        ("myops", "C2/C2_lge.nii.GZ", "C2/C2_LGE.nii.gz"),
        ("myops", "c1/C1_gd.nii.gz", "c1/c1_gd.nii.gz"),
        ("emidec", "case_P002/Images/case_P002.nii.gz", "Case_P002"),
        ("emidec", "Case_P002/images/Case_P002.nii.gz", "Case_P002/Images"),
        (
            "emidec",
            "Case_P001/Contours/case_p001.NII.GZ",
            "Case_P001/Contours/Case_P001.nii.gz",
        ),
    ],
)
def test_a_name_that_is_right_but_for_its_letters_is_refused(
    tmp_path, layout, name, right
):
    home = lay(tmp_path, layout)
    stray = home / name
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.touch()
    with pytest.raises(InputError, match="not read under this name") as caught:
        open_source(layout, str(home))
    assert str(caught.value).startswith(str(home / name)[: len(str(home / right))])
    assert f"; expected {right}: rename it" in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("folder", "p1_scar.nii.gz"),
        ("folder", "notes"),
        ("myops", "c2_LGE.nii.gz"),
        ("emidec", "Case_P002"),
        ("emidec", "Case_P001/Contours/Case_P001.nii.gz"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(tmp_path, layout, name):
    home = lay(tmp_path, layout)
    (home / name).unlink(missing_ok=True)
    (home / name).symlink_to("gone")
    with pytest.raises(InputError, match="a link to gone, which is not there"):
        open_source(layout, str(home))


def test_what_is_nobodys_is_named_in_one_line(tmp_path, caplog):
    home = lay(tmp_path, "folder")
    (home / "elsewhere").mkdir()
    for name in ("p9_scar.nii.gz", "p1-scar.nii.gz", "notes.pdf"):
        (home / name).touch()
    open_source("folder", str(home))
    (line,) = caplog.messages
    assert line.endswith("3 files: notes.pdf, p1-scar.nii.gz, p9_scar.nii.gz")
    for number in range(20):
        (home / f"{number:02d}.txt").touch()
    open_source("folder", str(home))
    assert "not read are 23 files: 00.txt, 01.txt, " in caplog.messages[-1]
    assert caplog.messages[-1].endswith(", 08.txt, 09.txt ...")


def test_a_case_without_images_is_named(tmp_path, caplog):
    home = lay(tmp_path, "emidec")
    (home / "Case_P002" / "Contours").mkdir(parents=True)
    open_source("emidec", str(home))
    assert "Case_P002, Case_P002/Contours" in caplog.text


def test_what_is_amiss_with_a_patient_left_out_does_not_matter(tmp_path, caplog):
    home = lay(tmp_path, "folder")
    for name in ("p2_image.nii", "p2_image.nii.gz", "P2_scar.nii"):
        (home / name).touch()
    with pytest.raises(InputError, match="keep one"):
        open_source("folder", str(home))
    for patients, leave_out in ((("p1",), ()), ((), ("p2",))):
        some = open_source("folder", str(home), patients=patients, leave_out=leave_out)
        assert some.patients == ("p1",)
    assert not caplog.text
    with pytest.raises(InputError, match=r"data\.leave_out names p3; expected some"):
        open_source("folder", str(home), leave_out=("p3",))
