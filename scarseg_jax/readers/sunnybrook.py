"""The Sunnybrook Cardiac Data's contours: text files of x y in pixels.

IM-0001-0059-icontour-manual.txt (endocardium) and -ocontour- (epicardium) belong to the
image whose InstanceNumber is 59 (P. Radau et al., MIDAS Journal, 2009). Whole numbers
are taken as pixels' centres.
"""

import re
from pathlib import Path

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.readers.contours import ENDOCARDIUM, EPICARDIUM, Contour
from scarseg_jax.readers.dicom_files import Image

_NAME = re.compile(r".*-(\d+)-([io])contour-.*\.txt", re.IGNORECASE)
_KINDS = {"i": ENDOCARDIUM, "o": EPICARDIUM}


def is_contours(path: Path) -> bool:
    """Returns whether a folder has such files in it."""
    return path.is_dir() and any(_NAME.fullmatch(f.name) for f in path.rglob("*.txt"))


def read_contours(path: Path, *, centre_px: float = 0.0) -> list[Contour]:
    """Returns the contours of a folder and its folders.

    Raises:
      InputError: If a file is not one of points.
    """
    found = []
    for file in sorted(path.rglob("*.txt")):
        if named := _NAME.fullmatch(file.name):
            points = _points(file, path, named[1])
            kind = _KINDS[named[2].lower()]
            found.append(Contour(str(int(named[1])), kind, points, centre_px))
    return found


def key(image: Image) -> str:
    """Returns what names an image here."""
    return str(image.fields.get("InstanceNumber", ""))


def _points(file: Path, home: Path, number: str) -> np.ndarray:
    try:
        rows = [
            line.split()
            for line in file.read_text("ascii").splitlines()
            if line.strip()
        ]
        points = np.array([[float(v) for v in row] for row in rows])
        if points.ndim == 2 and points.shape[1] == 2 and np.isfinite(points).all():
            return points
    except (OSError, ValueError):
        pass
    raise InputError(
        f"{home}: a contour file that is no list of x y in pixels, of image"
        f" {number}; expected two numbers a line: export it anew"
    )
