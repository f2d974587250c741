"""What a user may get wrong: one line that says what, where and the mend."""

import fcntl
import subprocess
import sys

import pytest
from absl.testing import flagsaver
from builders import CONFIGS, draw_study, make_settings, write_study

from scarseg_jax import cli, main, records, settings, terminal
from scarseg_jax.errors import InputError
from scarseg_jax.settings import Settings

PROTOCOL2 = f"--config={CONFIGS / 'protocol2.py'}"


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs the command in this process, in an empty folder; returns its exit code."""
    monkeypatch.setattr(terminal, "log_to_terminal", lambda _: None)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        # Overrides become flags where ml_collections sees them: in sys.argv.
        monkeypatch.setattr(sys, "argv", ["main", *arguments])
        with flagsaver.flagsaver():
            try:
                return main.main(terminal.parse(["main", *arguments]))
            except SystemExit as stop:
                return stop.code

    return run


def refused(code, capsys) -> str:
    """Returns the one line that a command which was refused says."""
    said = capsys.readouterr().err
    assert code == 2
    assert len(said.splitlines()) == 1, said
    assert said.startswith("error: ")
    return said


# ml_collections loads the file with a function that Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ("--config is missing", "configs/protocol2.py")),
        ([PROTOCOL2], ("--workdir is missing",)),
        ([PROTOCOL2, "--config.train.epoch=3"], ("epoch", "epochs")),
        ([PROTOCOL2, "--config.protocol=two"], ("protocol", "two")),
        (["--config=absent.py"], ("absent.py", "configs/protocol2.py")),
        (["--mode=dance"], ("dance", "prepare")),
        (["train"], ("'train' is not a flag", "--config.train.epochs=20")),
    ],
)
def test_a_bad_command_is_one_line_and_exit_code_2(command, capsys, arguments, words):
    said = refused(command(*arguments), capsys)
    for word in words:
        assert word in said


@pytest.mark.parametrize("module", ["main", "predict"])
def test_help_shows_the_job_and_its_flags(module):
    done = subprocess.run(
        [sys.executable, "-m", f"scarseg_jax.{module}", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    for word in (
        f"scarseg_jax.{module} --c",
        "--input" if module == "predict" else "--mode",
    ):
        assert word in done.stdout
    assert ("--workdir" in done.stdout) is (module == "main")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"protocol": 4}, "protocol is 4; expected one of 1, 2, 3"),
        (
            {"protocol": 3},
            "protocol is 3, but model.classes is 'scar'; Protocol 3 finds",
        ),
        (
            {"data.source": "nowhere"},
            "data.source is 'nowhere'; expected one of phantom",
        ),
        ({"data.source": "emidec"}, "data.path is empty"),
        (
            {"data.consensus": "mean"},
            "data.consensus is 'mean'; expected one of staple",
        ),
        (
            {"data.source": "myops", "data.path": "absent"},
            "absent: no such folder",
        ),
        ({"data.patients": "('nobody',)"}, "data.patients names nobody; expected some"),
        ({"model.variant": "vnet"}, "model.variant is 'vnet'; expected one of seed"),
        ({"model.classes": "fat"}, "model.classes is 'fat'; expected one of scar"),
        (
            {"model.classes": "heart_scar"},
            "model.classes=heart_scar tells 4 apart; expected 4 numbers",
        ),
        ({"threshold": 1.5}, "threshold is 1.5; expected between 0 and 1, or 0 to"),
        ({"train.selection": "best"}, "train.selection is 'best'; expected one of"),
        (
            {"train.augmentation": "mirrors"},
            "train.augmentation is 'mirrors'; expected one of symmetries, deformed",
        ),
        ({"protocol": 1, "context": True}, "context is true, but protocol is 1; Proto"),
        (
            {"crop": "square"},
            "crop is 'square'; expected one of hough, myocardium, lea",
        ),
        (
            {"protocol": 1, "crop": "myocardium"},
            "crop is 'myocardium', but protocol is",
        ),
        ({"crop": "learned"}, "crop is 'learned', but protocol is 2, which is given"),
        (
            {"crop": "learned", "protocol": 1},
            "crop is 'learned', but model.classes is 'scar'; only",
        ),
        (
            {"crop": "learned", "protocol": 1, "train.selection": "validation"},
            "train.selection is 'validation' with crop=learned; within",
        ),
        ({"neighbours": -1}, "neighbours is -1; expected 0 or more"),
        ({"train.averaging": 1.0}, "train.averaging is 1.0; expected 0 or more, less"),
        ({"train.epochs": 0}, "train.epochs is 0; expected a positive number"),
        ({"train.weight_decay": -1.0}, "train.weight_decay is -1.0; expected 0 or"),
        ({"train.class_weights": "(1.0, 0.0)"}, "expected a positive number for"),
        ({"folds.seeds": "(1, 1)"}, "folds.seeds is (1, 1); expected different"),
        ({"folds.seed": -1}, "folds.seed is -1; expected 0 to 4294967295"),
        ({"data.phantom_patients": 2}, "data.phantom_patients is 2; expected 3"),
        ({"folds.k": 99}, "folds.k is 99; expected 0"),
        ({"folds.seeds": "0,99999999999"}, "folds.seeds is 99999999999; expected 0 to"),
        ({"folds.seeds": "a,b"}, "folds.seeds.0: Input should be a valid integer"),
        ({"train.learning_rate": "inf"}, "train.learning_rate is inf; expected a"),
        ({"train.weight_decay": "nan"}, "train.weight_decay is nan; expected 0 or"),
        ({"train.class_weights": "(1.0, 1e999)"}, "class_weights is (1.0, inf); expec"),
        ({"data.patients": "A,B"}, "data.patients names A, B; expected some of"),
        ({"data.patients": "1,2"}, "data.patients names 1, 2; expected some of"),
        ({"data.patients": "A,A"}, "data.patients names A twice"),
        (
            {"data.patients": "('phantom_001',)"},
            "leaving one out needs at least 3",
        ),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_written(
    command, capsys, tmp_path, values, message
):
    flags = [f"--config.{name}={value}" for name, value in values.items()]
    said = refused(command(PROTOCOL2, "--workdir=run", *flags), capsys)
    assert message in said
    assert not (tmp_path / "run").exists()


def test_a_typo_has_no_escapes(command, capsys):
    said = refused(command(PROTOCOL2, "--config.train.epoch=3"), capsys)
    assert said == 'error: \'epoch\' Did you mean "epochs" instead of "epoch"?\n'


def test_a_configuration_file_that_fails_is_one_line(command, capsys, tmp_path):
    (tmp_path / "mine.py").write_text("def get_config():\n    return 1 + 'a'\n")
    said = refused(command("--config=mine.py", "--workdir=run"), capsys)
    assert "unsupported operand type" in said
    assert "Traceback" not in said


def test_the_home_is_known_by_its_sign(command, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    flags = ["--workdir=~/run", "--mode=report"]
    said = refused(command(PROTOCOL2, *flags), capsys)
    assert f"{tmp_path}/home/run/results/summary.json: no such file" in said
    assert not (tmp_path / "~").exists()


def test_a_run_goes_on_with_its_own_configuration(command, capsys, tmp_path):
    given = make_settings(data__phantom_patients=7)
    settings.write(given, tmp_path / "config.json")
    assert settings.read(tmp_path / "config.json") == given
    said = refused(command(f"--workdir={tmp_path}", "--mode=report"), capsys)
    assert "results/summary.json: no such file" in said
    flags = [PROTOCOL2, f"--workdir={tmp_path}", "--mode=report"]
    said = refused(command(*flags), capsys)
    assert "was 7, is 30" in said
    assert "leave out --config to go on with that run's" in said


def test_kept_settings_that_were_edited_are_refused(command, capsys, tmp_path):
    path = tmp_path / "config.json"
    settings.write(make_settings(data__phantom_patients=7), path)
    path.write_text(path.read_text().replace(": 7", ": 8"))
    said = refused(command(f"--workdir={tmp_path}", "--mode=report"), capsys)
    assert "config.json: damaged, or of another version (its SHA-256 differs)" in said


def test_one_path_however_it_is_written_is_one_run(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    ways = ("data", "./data/", str(tmp_path / "data"), "~/data", "link")
    assert {make_settings(data__path=way).data.path for way in ways} == {
        str(tmp_path / "data")
    }


@pytest.mark.parametrize("names", [("b", "a"), ("b,a",), ("b, a,",)])
def test_patients_may_come_in_one_string_and_in_any_order(names):
    assert make_settings(data__patients=names).data.patients == ("a", "b")
    assert make_settings(data__leave_out=names).data.leave_out == ("a", "b")


def test_names_that_cannot_be_shown_are_one_line(command, capsys, tmp_path):
    folder = tmp_path / "images"
    for name in ("a", "b", "p\udce9"):
        write_study(folder, draw_study(name, slices=1))
    flags = ["--config.data.source=folder", f"--config.data.path={folder}"]
    said = refused(command(PROTOCOL2, "--workdir=run", *flags), capsys)
    assert "the patient 'p\\udce9' has a name that is not UTF-8" in said
    odd = tmp_path / "d\udce9"
    folder.rename(odd)
    flags[1] = f"--config.data.path={odd}"
    said = refused(command(PROTOCOL2, "--workdir=run", *flags), capsys)
    assert "is not UTF-8; rename the folder" in said


def test_a_configuration_without_a_setting_is_refused(command, capsys, tmp_path):
    text = (CONFIGS / "protocol2.py").read_text()
    assert "symmetries = True" in text
    lines = [line for line in text.splitlines() if "symmetries = True" not in line]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    said = refused(command("--config=mine.py", "--workdir=run"), capsys)
    assert "symmetries: Field required" in said
    assert "configs/protocol2.py" in said


def test_a_folder_that_cannot_be_written_is_named(command, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused(command(PROTOCOL2, "--workdir=file/run"), capsys)
    assert "cannot write there" in said


def test_two_runs_never_share_a_folder(command, capsys, tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = refused(command(PROTOCOL2, f"--workdir={tmp_path}"), capsys)
    assert "another run is at work in it" in said


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("train", "nothing prepared here; run --mode=prepare"),
        ("evaluate", "nothing prepared here; run --mode=prepare"),
        ("report", "no such file; finish that run first"),
    ],
)
def test_a_part_says_which_part_comes_before(command, capsys, mode, message):
    said = refused(command(PROTOCOL2, "--workdir=run", f"--mode={mode}"), capsys)
    assert message in said


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"protocol": 2}', "null"])
def test_odd_kept_settings_are_one_clear_line(command, capsys, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    said = refused(command(PROTOCOL2, f"--workdir={tmp_path}"), capsys)
    assert "config.json: damaged, or of another version" in said


def test_a_missing_gpu_is_no_silent_fallback():
    with pytest.raises(InputError, match="require_gpu is set but JAX sees"):
        terminal.start_jax(2, require_gpu=True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, "scarseg predict"),
        ([], 2, "usage: scarseg COMMAND"),
        (["dance"], 2, "usage: scarseg COMMAND"),
        (["compare", "absent", "gone"], 2, "absent"),
    ],
)
def test_one_command_leads_to_all(capsys, arguments, code, words):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == code
    assert words in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", [path.stem for path in CONFIGS.glob("*.py")])
def test_every_configuration_passes_the_checks_and_survives_its_file(name):
    given = make_settings(name)
    assert records.parse(Settings, records.to_json(given), "it", "mend") == given
