"""The phantom in minutes: the full run's code and protocol, made small.

bash launch.sh
"""

import runpy
from pathlib import Path


def get_config():
    """Returns Protocol 2's configuration with few patients, folds and epochs."""
    protocol2 = runpy.run_path(str(Path(__file__).with_name("protocol2.py")))
    config = protocol2["get_config"]()
    config.data.phantom_patients = 12
    config.folds.k = 2
    config.train.epochs = 10
    return config
