import dataclasses
import json

import numpy as np
import pytest

from scarseg_jax import compare
from scarseg_jax.judge import paired, tables
from tests.builders import TRUE_PX, scored_run


def write_run(directory, dice, *, selection="last"):
    """Writes the results of a run with the Dice given; returns the run."""
    run = scored_run(directory, dice, TRUE_PX, selection=selection)
    tables.write(directory / "results", run.results)
    return run


def test_the_command_prints_a_table_and_writes_the_result(tmp_path, capsys):
    first = write_run(tmp_path / "1", np.zeros(8))
    second = write_run(tmp_path / "2", np.arange(1, 9) / 10, selection="oracle")
    output = tmp_path / "result.json"
    folders = [str(first.directory), str(second.directory)]
    assert compare.main([*folders, f"--output={output}"]) == 0
    *lines, note = capsys.readouterr().out.splitlines()
    assert note.endswith(paired.TESTS)
    assert lines == [
        f"first:  {first.directory} (Of 1)",
        f"second: {second.directory} (Of 2)",
        "        best epoch chosen on the test patients (oracle): not a result",
        "median DSC, %      n   first  second  second - first       W         p",
        "patients           3    0.00   30.00          +30.00       0      0.25",
        "slices             5    0.00   30.00          +30.00       0    0.0625",
        "slices, signs flipped by patient                                  0.25",
        "patients with scar: no significant difference at 0.05; 0 without any",
        "slices with scar: no significant difference at 0.05; 0 without any",
    ]
    (found,) = paired.compare(first, [second])
    assert json.loads(output.read_text()) == [
        {"first": folders[0], "second": folders[1], **dataclasses.asdict(found)}
    ]
    assert {p.name for p in tmp_path.iterdir()} == {"1", "2", "result.json"}


def test_the_command_shows_several_runs_as_rows_corrected_together(
    tmp_path, rng, capsys
):
    first, *others = (write_run(tmp_path / n, rng.random(8)) for n in "1234")
    oracle = write_run(tmp_path / "5", rng.random(8), selection="oracle")
    folders = [str(run.directory) for run in (first, *others, oracle)]
    assert compare.main(folders) == 0
    lines = capsys.readouterr().out.splitlines()
    found = paired.compare(first, [*others, oracle])
    assert lines[0] == f"first: {first.directory} (Of 1)"
    for line, folder, one in zip(lines[3:7], folders[1:], found, strict=True):
        medians = [
            [f"{100 * test.median_first:.2f}", f"{100 * test.median_second:.2f}"]
            for test in (one.patients, one.slices)
        ]
        expected = [
            *medians[0],
            *(f"{p:.2g}" for p in (one.patients.p, one.patients_p_holm)),
            *medians[1],
            *(f"{p:.2g}" for p in (one.slices_p_flips, one.slices_p_flips_holm)),
            f"{one.slices.p:.2g}",
        ]
        assert line.split() == [folder, *expected]
    assert lines[7] == (
        f"{oracle.directory}: best epoch chosen on the test patients (oracle): not a"
        " result"
    )
    assert lines[-1].endswith("Holm over the runs")


@pytest.mark.parametrize("output", ["absent/result.json", "folder"])
def test_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys, output):
    (tmp_path / "folder").mkdir()
    runs = [str(write_run(tmp_path / n, np.zeros(8)).directory) for n in "12"]
    before = set(tmp_path.iterdir())
    assert compare.main([*runs, f"--output={tmp_path / output}"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: --output=")
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("foreign", [b'{"Modality": "MR"}', b"[1, 2]", b"\x00\xff"])
def test_an_output_that_is_not_ours_is_kept(tmp_path, capsys, foreign):
    runs = [str(write_run(tmp_path / n, np.zeros(8)).directory) for n in "12"]
    output = tmp_path / "result.json"
    output.write_bytes(foreign)
    assert compare.main([*runs, f"--output={output}"]) == 2
    assert "is there and is not the result of a comparison" in capsys.readouterr().err
    assert output.read_bytes() == foreign
    output.unlink()
    for _ in range(2):  # our own is replaced
        assert compare.main([*runs, f"--output={output}"]) == 0


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
