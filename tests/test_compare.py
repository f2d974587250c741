import itertools
import json

import numpy as np
import pytest

from scarseg_jax import compare
from scarseg_jax.errors import InputError
from scarseg_jax.judge.clinical import MEASURES
from scarseg_jax.judge.evaluate import PATIENT_COLUMNS, SLICE_COLUMNS
from scarseg_jax.judge.statistics import holm, wilcoxon

# 8 slices of 4 patients; d has no scar and neither has slice 1 of c.
UNITS = [(p, z) for p in "abcd" for z in range(2)]
TRUE_PX = dict(zip(UNITS, (9, 8, 7, 6, 5, 0, 0, 0), strict=True))


def write_run(directory, dice, *, seeds=1, selection="validation", true_px=TRUE_PX):
    """Writes what the comparison reads; `dice` is (seeds, slices) or (slices,)."""
    dice = np.broadcast_to(dice, (seeds, len(UNITS)))
    results = directory / "results"
    results.mkdir(parents=True)
    by_slice: list[tuple] = [SLICE_COLUMNS]
    by_patient: list[tuple] = [PATIENT_COLUMNS]
    for seed in range(seeds):
        scores = dict(zip(UNITS, dice[seed], strict=True))
        for (p, z), px in true_px.items():
            dsc = float(scores[p, z]) if px else ""
            by_slice.append((p, z, 0, seed, 0, 0, 0, 0, 1, "", 1, dsc, px, 0))
        for p in sorted({p for p, _ in true_px}):
            px = sum(v for (q, _), v in true_px.items() if p == q)
            dsc = float(scores[p, 0]) if px else ""
            row = (p, 0, seed, 2, 1, 0, 0, 0, 0, 1, "", 1, dsc, px, 0)
            by_patient.append((*row, *("" for _ in MEASURES)))
    for name, rows in (("slices.csv", by_slice), ("patients.csv", by_patient)):
        text = "".join(",".join(map(str, row)) + "\n" for row in rows)
        (results / name).write_text(text)
    about = {"protocol": 1, "variant": "seed", "selection": selection, "table1": {}}
    (results / "summary.json").write_text(json.dumps(about))
    return directory


def exact_p(difference):
    """Two-sided p by going through every choice of signs; equal ranks are shared."""
    size = np.abs(difference)
    ranks = [(size < s).sum() + ((size == s).sum() + 1) / 2 for s in size]
    signs = np.array(list(itertools.product((0, 1), repeat=len(ranks))))
    sums = signs @ ranks
    observed = np.dot(ranks, difference > 0)
    tails = (sums <= observed).mean(), (sums >= observed).mean()
    return min(1, 2 * min(tails)), min(observed, sum(ranks) - observed)


@pytest.mark.parametrize(
    "difference",
    [
        [1],
        [1, -2, 3],
        [1, 2, 3, 4, 5, 6],
        [-1, 1, 2, 2, 3],
        [3, -1, 4, 1, -5, 9, 2, 6, -5],
        [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75],
    ],
)
def test_p_is_that_of_all_choices_of_signs(difference):
    difference = np.array(difference) / 100
    result = wilcoxon(np.zeros(len(difference)), difference)
    p, statistic = exact_p(difference)
    assert result["p"] == pytest.approx(p, rel=1e-9)
    assert result["statistic"] == statistic


def test_six_better_slices_are_the_fewest_that_are_significant():
    # All signs alike: p = 2 / 2**n.
    for n in (5, 6):
        result = wilcoxon(np.zeros(n), np.arange(1, n + 1) / 10)
        assert result["p"] == 2 / 2**n
    assert 2 / 2**6 < compare.ALPHA < 2 / 2**5


def test_pairs_without_a_difference_change_nothing_but_n():
    first, second = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.3, 0.1, 0.7, 0.9])
    alone = wilcoxon(first, second)
    padded = wilcoxon(np.append(first, [0.5, 0]), np.append(second, [0.5, 0]))
    assert (padded["n"], padded["n_different"]) == (6, 4)
    assert (alone["p"], alone["statistic"]) == (padded["p"], padded["statistic"])


def test_equal_runs_have_p_one():
    same = np.array([0.1, 0.5, 0.9])
    result = wilcoxon(same, same)
    assert (result["p"], result["statistic"], result["n_different"]) == (1, 0, 0)


def test_differences_that_only_rounding_tells_apart_tie():
    first = np.array([0.1, 0.2, 0.3, 0.7])
    second = first + np.array([0.1, 0.1, 0.1, -0.1])
    assert len(np.unique(np.abs(second - first))) > 1
    assert wilcoxon(first, second)["statistic"] == 2.5


def test_swapping_the_runs_keeps_p_and_turns_the_difference(rng):
    for n in (4, 12, 30, 200):
        first, second = np.round(rng.random((2, n)), 2)
        one, other = wilcoxon(first, second), wilcoxon(second, first)
        assert one["p"] == pytest.approx(other["p"], rel=1e-12)
        assert one["statistic"] == other["statistic"]
        assert one["median_difference"] == -other["median_difference"]


def test_only_units_with_scar_are_tested(tmp_path):
    first = write_run(tmp_path / "1", np.arange(8) / 10)
    second = write_run(tmp_path / "2", np.arange(8) / 10 + 0.05)
    result = compare.compare(first, second)
    assert (result["slices"]["n"], result["patients"]["n"]) == (5, 3)
    assert result["slices"]["median_first"] == 0.2
    assert result["slices"]["median_difference"] == pytest.approx(0.05)


def test_the_order_of_the_rows_does_not_matter(tmp_path, rng):
    first = write_run(tmp_path / "1", rng.random(8))
    second = write_run(tmp_path / "2", rng.random(8))
    before = compare.compare(first, second)
    for name in ("slices.csv", "patients.csv"):
        path = second / "results" / name
        header, *rows = path.read_text().splitlines()
        path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert compare.compare(first, second) == before


def test_seeds_count_as_their_mean_and_may_differ_in_number(tmp_path, rng):
    dice = rng.random((3, 8))
    three = write_run(tmp_path / "3", dice, seeds=3)
    mean = write_run(tmp_path / "mean", dice.mean(axis=0))
    result = compare.compare(three, mean)
    assert (result["slices"]["n"], result["slices"]["n_different"]) == (5, 0)


def test_runs_on_other_slices_are_refused_with_an_example(tmp_path):
    fewer = {unit: px for unit, px in TRUE_PX.items() if unit != ("b", 1)}
    first = write_run(tmp_path / "1", np.zeros(8))
    second = write_run(tmp_path / "2", np.zeros(8), true_px=fewer)
    for runs in ((first, second), (second, first)):
        with pytest.raises(InputError, match="in common, such as b, slice 1;"):
            compare.compare(*runs)


def test_slices_with_another_scar_are_other_slices(tmp_path):
    first = write_run(tmp_path / "1", np.zeros(8))
    second = write_run(tmp_path / "2", np.zeros(8), true_px={**TRUE_PX, ("c", 0): 4})
    with pytest.raises(InputError, match="1 slices not in common, such as c, slice 0"):
        compare.compare(first, second)


def test_runs_without_scar_are_refused(tmp_path):
    healthy = dict.fromkeys(UNITS, 0)
    runs = [write_run(tmp_path / n, np.zeros(8), true_px=healthy) for n in "12"]
    with pytest.raises(InputError, match="no slices with scar"):
        compare.compare(*runs)


def test_the_command_prints_a_table_and_writes_the_result(tmp_path, capsys):
    first = write_run(tmp_path / "1", np.zeros(8))
    second = write_run(tmp_path / "2", np.arange(1, 9) / 10, selection="oracle")
    output = tmp_path / "result.json"
    assert compare.main([str(first), str(second), f"--output={output}"]) == 0
    *lines, note = capsys.readouterr().out.splitlines()
    assert note.endswith(compare.ZEROS)
    assert lines == [
        f"first:  {first} (Protocol 1, seed)",
        f"second: {second} (Protocol 1, seed)",
        "        best epoch chosen on the test patients (oracle): not a result",
        "median DSC, %      n   first  second  second - first       W         p",
        "slices             5    0.00   30.00          +30.00       0    0.0625",
        "patients           3    0.00   30.00          +30.00       0      0.25",
        "slices with scar: no significant difference at 0.05; 0 without any",
        "patients with scar: no significant difference at 0.05; 0 without any",
    ]
    assert json.loads(output.read_text()) == compare.compare_all(first, [second])
    assert {p.name for p in tmp_path.iterdir()} == {"1", "2", "result.json"}


def test_several_runs_are_corrected_together(tmp_path, rng, capsys):
    first, *others = (write_run(tmp_path / n, rng.random(8)) for n in "1234")
    results = compare.compare_all(first, others)
    for unit in ("slices", "patients"):
        p = [r[unit]["p"] for r in results]
        assert [r[unit]["p_holm"] for r in results] == holm(p)
        assert min(r[unit]["p_holm"] for r in results) >= min(p)
    assert compare.main([str(first), *map(str, others)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:6]] == [str(o) for o in others]
    assert lines[-1].endswith("Holm over the runs")


@pytest.mark.parametrize("output", ["absent/result.json", "folder"])
def test_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys, output):
    (tmp_path / "folder").mkdir()
    runs = [str(write_run(tmp_path / n, np.zeros(8))) for n in "12"]
    before = set(tmp_path.iterdir())
    assert compare.main([*runs, f"--output={tmp_path / output}"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: --output=")
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert set(tmp_path.iterdir()) == before


def test_a_run_that_is_not_there_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert compare.main([str(tmp_path / "no"), str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "summary.json: no such file; finish that run first" in error


def test_help_explains_both_arguments(capsys):
    with pytest.raises(SystemExit, match="0"):
        compare.main(["--help"])
    printed = capsys.readouterr().out
    assert "finished run" in printed
    assert "FILE.json" in printed
