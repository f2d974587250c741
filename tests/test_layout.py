"""Who may import whom: as CONTRIBUTING.md says it."""

import ast
from pathlib import Path

import pytest

import scarseg_jax

HOME = Path(scarseg_jax.__file__).parent
VOCABULARY = {
    *("errors", "study", "run", "codes", "files", "records", "signals", "identifiers")
}
# Each may import those of the lines above, and its own folder.
ORDER = (
    VOCABULARY,
    {"measure"},
    {"readers", "writers", "judge"},
    {"prepare", "show"},
    {"learn"},
    {"segment"},
    {"settings", "finders", "starts", "asked", "prediction", "serving"},
    {"shown", "split"},
    {"training", "terminal", "cohort"},
    {"evaluation", "cluster"},
    {"experiment"},
    {"main", "predict", "compare", "export", "serve", "simulate", "cli"},
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
SHOW_MAY_IMPORT = VOCABULARY | {"judge", "measure", "show"}
WITH_JAX = {
    *("learn", "segment.model", "segment.pipeline"),
    *("finders", "starts", "asked", "shown", "training", "terminal"),
}
WITH_FLAGS = {"main", "predict", "export", "serve", "simulate", "cli", "terminal"}
MODULES = {
    ".".join(path.relative_to(HOME).with_suffix("").parts): path
    for path in sorted(HOME.rglob("*.py"))
    if path.name != "__init__.py"
}


def imported(path: Path) -> set[str]:
    """Returns the full names of what a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    folder = module.split(".")[0]
    for name in imported(MODULES[module]):
        package, *rest = name.split(".")
        if package == "scarseg_jax":
            theirs = rest[0]
            together = theirs == folder or {theirs, folder} <= VOCABULARY
            assert together or RANK[theirs] < RANK[folder], name
            assert folder != "show" or theirs in SHOW_MAY_IMPORT, name
        elif package in ("jax", "flax", "optax", "orbax"):
            assert folder in WITH_JAX or module in WITH_JAX, name
        elif package == "ml_collections" or name.startswith(("absl.app", "absl.flags")):
            assert folder in WITH_FLAGS, name


def test_every_folder_and_file_has_its_place():
    assert {module.split(".")[0] for module in MODULES} == RANK.keys()
