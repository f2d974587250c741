import csv
import dataclasses
import json

import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.judge import tables
from scarseg_jax.judge.consensus import PatientReaders, ReaderScore
from scarseg_jax.judge.results import SliceRow
from scarseg_jax.judge.summary import judge
from scarseg_jax.run import EpochRecord
from tests.builders import about, answers_of, run_record, two_patients

FILES = {
    *("slices.csv", "patients.csv", "summary.json"),
    *("predictions.npz", "native.npz"),
}
SUMS = {"sha256.json"}
COUNTED = ("tp", "fp", "fn", "tn", "acc", "se", "sp", "dsc", "true_px", "predicted_px")
BOTH = ",".join([*COUNTED, *(f"crop_{name}" for name in COUNTED)])


def make(*, healthy="a", scarred="b", record=None, readers=None, **values):
    """Returns results that differ between the grids: on the crops all is called."""
    truth, probability = two_patients(healthy, scarred)
    truth = dataclasses.replace(truth, readers=readers or {})
    answers = answers_of(truth, probability, **{"fold": (0, 0, 1, 1), **values})
    answers = dataclasses.replace(answers, crop=np.ones_like(answers.crop))
    history = () if record is None else record.history
    return judge(truth, answers, dataclasses.replace(about(), run=record), history)


def test_every_slice_is_a_row_with_exact_counts_and_blanks_grid_by_grid(tmp_path):
    tables.write(tmp_path, make())
    assert (tmp_path / "slices.csv").read_text().splitlines() == [
        f"patient,slice,fold,seed,{BOTH}",
        "a,0,0,0,0,0,0,4096,1.0,,1.0,,0,0,0,4096,0,0,0.0,,0.0,0.0,0,4096",
        (
            f"a,1,0,0,0,8,0,4088,{4088 / 4096},,{4088 / 4096},0.0,0,8,"
            "0,4096,0,0,0.0,,0.0,0.0,0,4096"
        ),
        (
            f"b,0,1,0,8,8,8,4072,{4080 / 4096},0.5,{4072 / 4080},0.5,16,16,"
            f"16,4080,0,0,{16 / 4096},1.0,0.0,{32 / 4112},16,4096"
        ),
        (
            f"b,1,1,0,0,0,32,4064,{4064 / 4096},0.0,1.0,0.0,32,0,"
            f"32,4064,0,0,{32 / 4096},1.0,0.0,{64 / 4128},32,4096"
        ),
    ]


def test_every_patient_is_a_row_of_pooled_pixels(tmp_path):
    tables.write(tmp_path, make())
    header, *rows = (tmp_path / "patients.csv").read_text().splitlines()
    assert header == (
        f"patient,fold,seed,slices,scar_slices,{BOTH},true_ml,called_ml,"
        "true_percent_lv,called_percent_lv,hd95_mm,assd_mm,surface_dice,penalty_mm"
    )
    starts = [
        (
            f"a,0,0,2,0,0,8,0,8184,{8184 / 8192},,{8184 / 8192},0.0,0,8,"
            "0,8192,0,0,0.0,,0.0,0.0,0,8192,0.0,0.008,0.0,"
        ),
        (
            f"b,1,0,2,2,8,8,40,8136,{8144 / 8192},{8 / 48},{8136 / 8144},0.25,48,16,"
            f"48,8144,0,0,{48 / 8192},1.0,0.0,{96 / 8240},48,8192,0.048,0.016,"
        ),
    ]
    for row, start in zip(rows, starts, strict=True):
        assert row.startswith(start)


@pytest.mark.parametrize("said", [True, False])
def test_results_are_read_back_as_they_were_written(tmp_path, said):
    score = ReaderScore(dice=0.9, sensitivity=0.5, specificity=None, others=0.75)
    readers = {"b": PatientReaders("staple", True, 0.8, (0.7, 0.1), {"x": score})}
    probability = two_patients()[1]
    answers = {
        "probability": np.concatenate([probability, probability[:, ::-1]]),
        "seeds": (0, 7),
    }
    record = run_record() if said else None
    truth, _ = two_patients()
    truth = dataclasses.replace(truth, readers=readers if said else {})
    written = judge(
        truth,
        answers_of(truth, **answers, fold=(0, 0, 1, 1), said=said),
        dataclasses.replace(about(), run=record),
        record.history if record else (),
    )
    tables.write(tmp_path / "results", written)
    read = tables.read(tmp_path)
    assert read.summary == written.summary
    assert (read.slices, read.patients) == (written.slices, written.patients)
    assert read.history == written.history
    assert len(read.history) == (2 if said else 0)
    for name, kept in vars(written.pictures).items():
        again = getattr(read.pictures, name)
        if kept is None:
            assert again is None
        else:
            np.testing.assert_array_equal(again, kept)
            assert again.dtype == kept.dtype
    for name, kept in vars(written.native_pictures).items():
        again = getattr(read.native_pictures, name)
        np.testing.assert_array_equal(again, kept)
        assert again.dtype == kept.dtype


def test_the_archive_holds_what_the_page_draws(tmp_path):
    tables.write(tmp_path, make())
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as archive:
        assert set(archive) == {
            *("patient", "slice", "fold", "crop", "myocardium", "scar"),
            *("called", "probability", "pixel_mm"),
        }
    tables.write(tmp_path, make(said=False))
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as archive:
        assert "probability" not in archive


def test_nothing_but_the_five_files_and_their_sums_is_left_and_history(tmp_path):
    for _ in range(2):
        tables.write(tmp_path / "new" / "results", make())
    assert {p.name for p in (tmp_path / "new" / "results").iterdir()} == FILES | SUMS
    tables.write(tmp_path / "trained", make(record=run_record()))
    names = {p.name for p in (tmp_path / "trained").iterdir()}
    assert names == FILES | SUMS | {"history.csv"}


def test_the_summary_is_one_json_object_by_the_names_of_its_fields(tmp_path):
    written = make()
    tables.write(tmp_path, written)
    tree = json.loads((tmp_path / "summary.json").read_text())
    assert list(tree) == [f.name for f in dataclasses.fields(written.summary)]
    assert tree["about"]["protocol"] == 2
    assert tree["native"]["dsc"]["median"] == 0.25
    assert tree["crop"]["failures"]["missed"]["slices"] == 0


def test_names_with_commas_and_quotes_are_read_back(tmp_path):
    healthy, scarred = 'a,"1"', "b\u00e9"
    tables.write(tmp_path, make(healthy=healthy, scarred=scarred))
    rows = tables.read_rows(tmp_path / "slices.csv", SliceRow)
    assert [row.patient for row in rows] == [healthy] * 2 + [scarred] * 2


def test_floats_are_written_with_all_their_digits(tmp_path):
    tables.write(tmp_path, make())
    with (tmp_path / "slices.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[2]["sp"]) == 4072 / 4080


def test_history_is_read_back_as_it_was_written(tmp_path):
    row = EpochRecord(0, 1, 2, 5e-4, 0.1, 0.3, float("nan"), 1.0)
    path = tmp_path / "history.csv"
    path.write_text(tables.to_csv(EpochRecord, [row]))
    assert path.read_text().splitlines()[0] == (
        "fold,seed,epoch,learning_rate,loss,threshold,validation_dsc,test_dsc"
    )
    (again,) = tables.read_rows(path, EpochRecord)
    assert repr(again) == repr(row)  # NaN is not equal to itself


def test_a_column_of_rows_has_nan_for_what_is_undefined():
    found = make()
    np.testing.assert_array_equal(
        tables.row_floats(found.slices, "native", "dsc"), [np.nan, 0, 0.5, 0]
    )
    np.testing.assert_array_equal(
        tables.row_floats(found.slices, "crop", "tp"), [0, 0, 16, 32]
    )
    np.testing.assert_array_equal(tables.row_floats(found.slices, "fold"), [0, 0, 1, 1])
    np.testing.assert_array_equal(
        tables.row_floats(found.patients, "size", "true_ml"), [0, 0.048]
    )


CROP = ",0,0,0,4096,1.0,,1.0,,0,0"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "other columns"),
        ("patient,dsc\na,1\n", "other columns"),
        ("{header}\n", "no rows"),
        ("{header}\na,0,0,0,0,0\n", "too short or too long"),
        (f"{{header}}\na,0,0,0,0,0,0,4096,1.0,,1.0,,0,0{CROP},9\n", "too short or"),
        (f"{{header}}\na,0,0,0,zero,0,0,4096,1.0,,1.0,,0,0{CROP}\n", "(native.tp: "),
        (f"{{header}}\na,0,0,0,0.5,0,0,4096,1.0,,1.0,,0,0{CROP}\n", "(native.tp: "),
        (f"{{header}}\na,0,0,0,,0,0,4096,1.0,,1.0,,0,0{CROP}\n", "(native.tp: "),
        (f"{{header}}\na,0,0,0,0,0,0,4096,one,,1.0,,0,0{CROP}\n", "(native.acc: "),
        ("\xff\x00", "codec"),
    ],
)
def test_a_damaged_table_is_named_with_the_mend(tmp_path, text, why):
    header = f"patient,slice,fold,seed,{BOTH}"
    path = tmp_path / "slices.csv"
    path.write_bytes(text.replace("{header}", header).encode("latin-1"))
    with pytest.raises(InputError, match=r"make that run's results again") as raised:
        tables.read_rows(path, SliceRow)
    assert str(path) in str(raised.value)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_table_of_the_earlier_columns_is_of_another_version(tmp_path):
    path = tmp_path / "slices.csv"
    before = ",".join(("patient", "slice", "fold", "seed", *COUNTED))
    path.write_text(f"{before}\na,0,0,0,0,0,0,4096,1.0,,1.0,,0,0\n")
    with pytest.raises(InputError, match="made by another version"):
        tables.read_rows(path, SliceRow)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"native": {}}', "\xff"])
def test_a_damaged_summary_is_named_with_the_mend(tmp_path, text):
    path = tmp_path / "summary.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"summary\.json: damaged, .* again"):
        tables.read_summary(path)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda tree: tree.pop("native"), "native"),
        (lambda tree: tree.update(table1={}), "table1"),
        (lambda tree: tree.update(rows="8"), "rows"),
        (lambda tree: tree["crop"]["dsc"].update(median="high"), "crop.dsc.median"),
    ],
)
def test_a_summary_with_another_field_is_refused_by_its_name(tmp_path, change, name):
    tables.write(tmp_path, make())
    path = tmp_path / "summary.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=rf"summary\.json: damaged.*\({name}: "):
        tables.read_summary(path)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_says_to_finish_the_run(tmp_path, name):
    tables.write(tmp_path / "results", make())
    (tmp_path / "results" / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file; finish that run"):
        tables.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("slices.csv", "\na,", "\nanother,"),  # a patient renamed
        ("slices.csv", ",1.0,,1.0,", ",,,1.0,"),  # a cell emptied
        ("slices.csv", "\nb,1,", "\nb,2,"),
        ("patients.csv", ",0.25,", ",nan,"),  # a Dice
        ("patients.csv", ",0.25,", ",0.35,"),
        ("summary.json", '"rows": 4', '"rows": 5'),
        ("history.csv", "0.1,", "0.2,"),
        ("sha256.json", "a", "b"),
        ("sha256.json", "{", "["),
    ],
)
@pytest.mark.parametrize(
    ("home", "part"), [("run", "evaluate"), ("run/baselines/FCM", "baselines")]
)
def test_results_edited_by_hand_are_refused_with_the_mend(
    tmp_path, name, before, after, home, part
):
    tables.write(tmp_path / home / "results", make(record=run_record()))
    path = tmp_path / home / "results" / name
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(InputError, match=rf"damaged.*--mode={part}$") as raised:
        tables.read(tmp_path / home)
    assert "\n" not in str(raised.value)
    if name != "sha256.json":
        assert str(path) in str(raised.value)


def test_a_table_of_another_length_and_pictures_of_other_slices_are_refused(tmp_path):
    for change in ("shorter", "exchanged"):
        results = tmp_path / change / "results"
        tables.write(results, make())
        if change == "shorter":
            kept = (results / "slices.csv").read_text().splitlines()[:-1]
            (results / "slices.csv").write_text("\n".join(kept) + "\n")
        else:
            tables.write(tmp_path / "other" / "results", make(scarred="z"))
            other = tmp_path / "other" / "results" / "predictions.npz"
            (results / "predictions.npz").write_bytes(other.read_bytes())
        with pytest.raises(InputError, match=r"its SHA-256 differs.*--mode=evaluate"):
            tables.read(tmp_path / change)


def test_what_an_editor_leaves_beside_results_is_no_damage(tmp_path):
    tables.write(tmp_path / "results", make())
    for name in (".DS_Store", "~$slices.csv", "notes.txt"):
        (tmp_path / "results" / name).write_text("x")
    assert tables.read(tmp_path).summary == make().summary


def test_damaged_predictions_are_named(tmp_path):
    path = tmp_path / "predictions.npz"
    path.write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match=r"predictions\.npz: damaged, "):
        tables.read_pictures(path)


def test_predictions_with_an_array_less_or_more_are_named(tmp_path):
    path = tmp_path / "predictions.npz"
    arrays = {k: v for k, v in vars(make().pictures).items() if v is not None}
    for odd in ({"scar": arrays["scar"]}, {**arrays, "odd": arrays["scar"]}):
        np.savez_compressed(path, **odd)
        with pytest.raises(InputError, match=r"predictions\.npz: damaged, .* again"):
            tables.read_pictures(path)


def test_damaged_native_pictures_are_named(tmp_path):
    path = tmp_path / "native.npz"
    path.write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match=r"native\.npz: damaged, .* again"):
        tables.read_native_pictures(path)
    pictures = vars(make().native_pictures)
    np.savez_compressed(path, **{k: pictures[k] for k in ("patient", "slice")})
    with pytest.raises(InputError, match=r"native\.npz: damaged, .* again"):
        tables.read_native_pictures(path)
