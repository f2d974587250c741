"""Protocol 3, beyond the paper: from the whole image to the scar, nothing drawn.

python -m scarseg_jax.main --config=configs/protocol3.py --workdir=runs/protocol3 \
    --config.data.source=emidec --config.data.path=PATH

One recurrent U-Net, which finds the myocardium better than ENet in the same time, tells
apart the left ventricle's cavity, its myocardium and the scar in it.
Training needs all three drawn; finding scar needs nothing. docs/ablations.md has what
each of the settings below is worth.
"""

import runpy
from pathlib import Path


def get_config():
    """Returns Protocol 2's configuration with what differs."""
    protocol2 = runpy.run_path(str(Path(__file__).with_name("protocol2.py")))
    config = protocol2["get_config"]()
    config.protocol = 3
    config.crop = "learned"
    config.neighbours = 1
    config.folds.k = 5
    config.model.variant = "rfcn"
    config.model.classes = "heart_scar"
    config.train.class_weights = (1.0, 1.0, 1.0, 1.0)
    config.train.dice = True
    config.train.averaging = 0.9995
    config.train.augmentation = "repainted"
    config.train.epochs = 20
    return config
