"""Scar in a myocardium that Protocol 3's networks find, or that is drawn.

python -m scarseg_jax.export --workdir=runs/protocol3 --output=runs/finder
python -m scarseg_jax.main --config=configs/cascade.py --workdir=runs/cascade \
    --config.finder=runs/finder --config.data.source=emidec --config.data.path=PATH

The finder's patients and folds must be this run's. docs/ablations.md has what it is worth.
"""

import runpy
from pathlib import Path


def get_config():
    """Returns the configuration of Protocol 2 with context, with what differs."""
    context = runpy.run_path(str(Path(__file__).with_name("protocol2_context.py")))
    config = context["get_config"]()
    config.finder = "runs/finder"
    config.train.epochs = 14  # of twice the images: in the drawn and found myocardium
    return config
