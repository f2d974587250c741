"""Protocol 1 of the paper: scar in the whole crop, no myocardium needed.

python -m scarseg_jax.main --config=configs/protocol1.py --workdir=runs/protocol1 \
    --config.data.source=emidec --config.data.path=PATH
"""

import runpy
from pathlib import Path


def get_config():
    """Returns Protocol 2's configuration with the other protocol."""
    protocol2 = runpy.run_path(str(Path(__file__).with_name("protocol2.py")))
    config = protocol2["get_config"]()
    config.protocol = 1
    return config
