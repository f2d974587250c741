"""Protocol 2 beyond the paper: scar inside the drawn myocardium, its surroundings in view.

python -m scarseg_jax.main --config=configs/protocol2_context.py \
    --workdir=runs/protocol2_context --config.data.source=emidec --config.data.path=PATH

docs/ablations.md has what each of the settings below is worth.
"""

import runpy
from pathlib import Path


def get_config():
    """Returns Protocol 2's configuration with what differs."""
    protocol2 = runpy.run_path(str(Path(__file__).with_name("protocol2.py")))
    config = protocol2["get_config"]()
    config.context = True
    config.start = "simulated"  # from nothing it takes twice the epochs
    config.neighbours = 1
    config.crop = "myocardium"
    config.folds.k = 5
    config.train.dice = True
    config.train.averaging = 0.9995
    config.train.augmentation = "deformed"
    config.train.epochs = 15
    return config
