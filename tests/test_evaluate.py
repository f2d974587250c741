import csv
import json

import numpy as np
import pytest

from scarseg_jax import compare
from scarseg_jax.errors import InputError
from scarseg_jax.judge.evaluate import (
    HISTORY_COLUMNS,
    evaluate,
    headline,
    optimism,
    read_summary,
    read_table,
    write_history,
    write_text,
)
from scarseg_jax.prepare.dataset import Slices

ABOUT = {"protocol": 2, "variant": "seed", "source": "phantom"} | {
    "selection": "validation",
    "provenance": {"versions": {"jax": "0"}},
}
FILES = {"slices.csv", "patients.csv", "summary.json", "predictions.npz"}


def square(size, shift=0):
    """A slice's mask: `size` rows of 8 pixels, `shift` columns to the right."""
    mask = np.zeros((64, 64), bool)
    mask[8 : 8 + size, 8 + shift : 16 + shift] = True
    return mask


def slices_of(patient, scar):
    n = len(patient)
    return Slices(
        image=np.zeros((n, 64, 64, 1), np.float32),
        crop=np.arange(n * 64 * 64, dtype=np.float32).reshape(n, 64, 64),
        myocardium=np.ones((n, 64, 64), bool),
        scar=scar,
        patient=np.array(patient),
        slice=np.concatenate([np.arange(patient.count(p)) for p in sorted({*patient})]),
        labelled=np.ones(n, bool),
        contained=np.arange(n) > 0,
        centre_px=np.zeros((n, 2), np.float32),
        spacing_mm=np.ones((n, 3), np.float32),
        side_mm=np.full(n, 96, np.float32),
        pixel_mm=np.full(n, 1.5, np.float32),
        data_hash="0",
    )


@pytest.fixture
def slices():
    """Patient b has a slice of 16 scar pixels and one of 32; a has none."""
    scar = np.stack([square(0), square(0), square(2), square(4)])
    return slices_of(["a", "a", "b", "b"], scar)


@pytest.fixture
def probability():
    """Seed 0: right, false scar, half of the scar and as much again, missed scar."""
    called = np.stack([square(0), square(1), square(2, shift=4), square(0)])
    return np.where(called, 0.75, 0.25).astype(np.float32)[None]


def run(directory, slices, probability, seeds=(0,), threshold=0.5, about=ABOUT):
    return evaluate(
        directory,
        slices,
        probability >= threshold,
        probability=probability,
        fold=np.array([0, 0, 1, 1]),
        seeds=seeds,
        about=about,
    )


def test_every_slice_is_a_row_with_exact_counts_and_blanks(
    tmp_path, slices, probability
):
    run(tmp_path, slices, probability)
    assert (tmp_path / "slices.csv").read_text().splitlines() == [
        "patient,slice,fold,seed,tp,fp,fn,tn,acc,se,sp,dsc,true_px,predicted_px",
        "a,0,0,0,0,0,0,4096,1.0,,1.0,,0,0",
        f"a,1,0,0,0,8,0,4088,{4088 / 4096},,{4088 / 4096},0.0,0,8",
        f"b,0,1,0,8,8,8,4072,{4080 / 4096},0.5,{4072 / 4080},0.5,16,16",
        f"b,1,1,0,0,0,32,4064,{4064 / 4096},0.0,1.0,0.0,32,0",
    ]


def test_every_patient_is_a_row_of_pooled_pixels(tmp_path, slices, probability):
    run(tmp_path, slices, probability)
    header, *rows = (tmp_path / "patients.csv").read_text().splitlines()
    assert header.startswith(
        "patient,fold,seed,slices,scar_slices,"
        "tp,fp,fn,tn,acc,se,sp,dsc,true_px,predicted_px,true_ml,called_ml,"
    )
    starts = [
        f"a,0,0,2,0,0,8,0,8184,{8184 / 8192},,{8184 / 8192},0.0,0,8,0.0,",
        f"b,1,0,2,2,8,8,40,8136,{8144 / 8192},{8 / 48},{8136 / 8144},0.25,48,16,",
    ]
    assert [row.startswith(s) for row, s in zip(rows, starts, strict=True)] == [
        True
    ] * 2


def test_the_summary_takes_se_and_dsc_over_slices_with_scar(
    tmp_path, slices, probability
):
    summary = run(tmp_path, slices, probability)
    quarter = {"median": 0.25, "q1": 0.125, "q3": 0.375, "iqr": 0.25, "n": 2}
    assert summary["table1"]["se"] == summary["table1"]["dsc"] == quarter
    assert summary["table1"]["acc"]["n"] == summary["table1"]["sp"]["n"] == 4
    assert summary["failures"] == {
        "missed": {"slices": 1, "patients": 1, "of_slices": 2},
        "false": {"slices": 1, "patients": 1, "of_slices": 2},
    }
    sp = summary["table1"]["sp"]["median"]
    assert summary["contingency"] == {
        "scar_as_scar": 0.25,
        "scar_as_background": 0.75,
        "background_as_scar": 1 - sp,
        "background_as_background": sp,
    }
    dice = summary["patients_dsc"]
    assert (dice["mean"], dice["sd"], dice["n"]) == (0.25, None, 1)


def test_the_summary_on_disk_is_the_one_returned_and_says_what_was_run(
    tmp_path, slices, probability
):
    summary = run(tmp_path, slices, probability)
    assert read_summary(tmp_path / "summary.json") == summary
    assert ABOUT.items() <= summary.items()
    counted = ("patients", "slices", "scar_slices", "folds", "rows")
    assert [summary[k] for k in counted] == [2, 4, 2, 2, 4]
    assert summary["seeds"] == [0]
    assert summary["myocardium_in_crop"] == {"slices": 3, "of_slices": 4}


def test_seeds_are_pooled_in_table_1_and_averaged_in_a_patients_dice(
    tmp_path, slices, probability
):
    perfect = np.where(slices.scar, 0.75, 0.25).astype(np.float32)
    both = np.stack([probability[0], perfect])
    summary = run(tmp_path, slices, both, seeds=(0, 7))
    rows = read_table(tmp_path / "slices.csv")
    assert [row["seed"] for row in rows] == ["0"] * 4 + ["7"] * 4
    assert [row["dsc"] for row in rows[4:]] == ["", "", "1.0", "1.0"]
    assert (summary["rows"], summary["table1"]["dsc"]["n"]) == (8, 4)
    assert summary["table1"]["dsc"]["median"] == 0.75  # of 0, 0.5, 1 and 1
    assert "missed scar: 1 of 4 slices x seeds (1 patients)" in headline(summary)
    dice = summary["patients_dsc"]
    assert (dice["mean"], dice["n"]) == ((0.25 + 1) / 2, 1)
    assert summary["by_seed"] == [
        {"seed": 0, "dsc": 0.25, "patients_dsc": 0.25, "missed": 1, "false": 1},
        {"seed": 7, "dsc": 1.0, "patients_dsc": 1.0, "missed": 0, "false": 0},
    ]
    spread = "  seed by seed: DSC 25.00 to 100.00 %, 3-D Dice 0.250 to 1.000"
    assert spread in headline(summary).splitlines()
    with np.load(tmp_path / "predictions.npz") as archive:
        np.testing.assert_array_equal(archive["probability"], both.mean(axis=0))


def test_the_order_of_the_slices_changes_no_summary(tmp_path, slices, probability):
    mixed = np.array([2, 0, 3, 1])
    one = run(tmp_path / "one", slices, probability)
    other = evaluate(
        tmp_path / "other",
        slices.take(mixed),
        probability[:, mixed] >= 0.5,
        probability=probability[:, mixed],
        fold=np.array([0, 0, 1, 1])[mixed],
        seeds=(0,),
        about=ABOUT,
    )
    assert one == other
    names = [tmp_path / order / "patients.csv" for order in ("one", "other")]
    assert names[0].read_text() == names[1].read_text()


def test_the_archive_holds_what_the_report_draws(tmp_path, slices, probability):
    run(tmp_path, slices, probability)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as archive:
        assert set(archive) == {
            *("patient", "slice", "fold", "crop", "myocardium", "scar"),
            *("called", "probability", "pixel_mm"),
        }
        for name in ("patient", "slice", "crop", "myocardium", "scar", "pixel_mm"):
            np.testing.assert_array_equal(archive[name], getattr(slices, name))
        np.testing.assert_array_equal(archive["fold"], [0, 0, 1, 1])
        np.testing.assert_array_equal(archive["called"], probability[0] >= 0.5)


def test_one_half_is_shown_beside_another_threshold(tmp_path, slices, probability):
    half = run(tmp_path / "half", slices, probability)
    other = run(tmp_path / "other", slices, probability, threshold=0.8)
    assert other["failures"]["missed"]["slices"] == 2
    assert other["at_half"]["failures"] == half["failures"]
    assert other["at_half"]["table1"] == half["table1"]


def test_a_method_without_probabilities_is_evaluated(tmp_path, slices, probability):
    summary = evaluate(
        tmp_path,
        slices,
        probability >= 0.5,
        fold=np.array([0, 0, 1, 1]),
        seeds=(0,),
        about=ABOUT,
    )
    assert "at_half" not in summary
    assert summary["failures"]["missed"]["slices"] == 1
    with np.load(tmp_path / "predictions.npz") as archive:
        assert "probability" not in archive


def test_nothing_but_the_four_files_is_left(tmp_path, slices, probability):
    for _ in range(2):
        run(tmp_path / "new" / "results", slices, probability)
    assert {p.name for p in (tmp_path / "new" / "results").iterdir()} == FILES


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "kept.json"
    write_text(path, "old")

    def broken(self, target):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [
        ("kept.json", "old")
    ]


def test_nan_is_refused_rather_than_called_background(tmp_path, slices, probability):
    probability[0, 2, 10, 10] = np.nan
    with pytest.raises(InputError, match="diverged; train in a new --workdir"):
        run(tmp_path / "none", slices, probability)
    assert not (tmp_path / "none").exists()


def test_a_run_without_scar_is_summarised_without_figures(
    tmp_path, slices, probability
):
    slices.scar[:] = False
    summary = run(tmp_path, slices, probability)
    assert summary["table1"]["dsc"]["median"] is None
    assert summary["contingency"]["scar_as_background"] is None
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert "3-D Dice" not in headline(summary)


def test_the_headline_shows_the_table_in_per_cent(tmp_path, slices, probability):
    summary = run(tmp_path, slices, probability)
    assert headline(summary).splitlines() == [
        "Protocol 2: 2 patients, 4 slices (2 with scar), 2 folds, seeds [0]",
        "        median       IQR     n slices",
        "  Acc  99.71 %    0.34 %     4",
        "  Sp   99.90 %    0.20 %     4",
        "  Se   25.00 %   25.00 %     2",
        "  DSC  25.00 %   25.00 %     2",
        "  missed scar: 1 of 2 slices (1 patients)",
        "  false scar: 1 of 2 slices (1 patients)",
        "  3-D Dice: 0.250 (1 patients with scar)",
        "  whole myocardium in the crop: 3 of 4 slices",
    ]


def test_a_run_that_saw_the_test_patients_is_labelled(tmp_path, slices, probability):
    oracle = run(tmp_path, slices, probability, about=ABOUT | {"selection": "oracle"})
    assert "(oracle): not a result" in headline(oracle)
    assert "oracle" not in headline(run(tmp_path, slices, probability))


def test_names_with_commas_and_quotes_are_read_back(tmp_path, probability):
    names = ['a,"1"', 'a,"1"', "b\u00e9", "b\u00e9"]
    run(tmp_path, slices_of(names, np.zeros((4, 64, 64), bool)), probability)
    assert [row["patient"] for row in read_table(tmp_path / "slices.csv")] == names


def test_two_runs_written_here_can_be_compared(tmp_path, slices, probability):
    perfect = np.where(slices.scar, 0.75, 0.25).astype(np.float32)[None]
    run(tmp_path / "1" / "results", slices, probability)
    run(tmp_path / "2" / "results", slices, perfect)
    result = compare.compare(tmp_path / "1", tmp_path / "2")
    assert (result["slices"]["n"], result["patients"]["n"]) == (2, 1)
    assert result["slices"]["median_difference"] == 0.75
    assert result["patients"]["median_difference"] == 0.75


def test_history_is_read_back_as_it_was_written(tmp_path):
    columns = HISTORY_COLUMNS
    row = dict(zip(columns, (0, 1, 2, 5e-4, 0.1, 0.3, float("nan"), 1), strict=True))
    write_history(tmp_path, [row])
    path = tmp_path / "history.csv"
    assert path.read_text().splitlines()[0] == ",".join(columns)
    assert read_table(path) == [{k: str(v) for k, v in row.items()}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "other columns"),
        ("patient,dsc\na,1\n", "other columns"),
        ("{header}\n", "no rows"),
        ("{header}\na,0,0,0,0,0\n", "too short or too long"),
        ("{header}\na,0,0,0,0,0,0,4096,1.0,,1.0,,0,0,9\n", "too short or too long"),
        ("{header}\na,0,0,0,zero,0,0,4096,1.0,,1.0,,0,0\n", "'zero'"),
        ("{header}\na,0,0,0,0,0,0,4096,one,,1.0,,0,0\n", "'one'"),
        ("\xff\x00", "codec"),
    ],
)
def test_a_damaged_table_is_named_with_the_mend(tmp_path, text, why):
    header = "patient,slice,fold,seed,tp,fp,fn,tn,acc,se,sp,dsc,true_px,predicted_px"
    path = tmp_path / "slices.csv"
    path.write_bytes(text.replace("{header}", header).encode("latin-1"))
    with pytest.raises(InputError, match=r"make that run's results again") as raised:
        read_table(path)
    assert str(path) in str(raised.value)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"table1": {}}'])
def test_a_damaged_summary_is_named_with_the_mend(tmp_path, text):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"summary\.json: damaged, .* again"):
        read_summary(path)


@pytest.mark.parametrize("read", [read_table, read_summary])
def test_a_missing_file_says_to_finish_the_run(tmp_path, read):
    with pytest.raises(InputError, match="no such file; finish that run first"):
        read(tmp_path / "slices.csv")


def test_floats_are_written_with_all_their_digits(tmp_path, slices, probability):
    run(tmp_path, slices, probability)
    with (tmp_path / "slices.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[2]["sp"]) == 4072 / 4080


def test_optimism_tells_what_each_way_to_choose_the_epoch_gives():
    dice = {"0": [(0.5, 0.4), (0.7, 0.3), (0.6, 0.6)], "1": [(0.2, 0.1), (0.1, 0.2)]}
    history = [
        {"fold": fold, "seed": "0", "validation_dsc": str(v), "test_dsc": str(t)}
        for fold, epochs in dice.items()
        for v, t in epochs
    ]
    assert optimism(history) == pytest.approx(
        {"last": 0.4, "validation": 0.2, "oracle": 0.4}
    )
