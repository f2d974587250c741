"""A simulated study's slices as DICOM images, as a scanner would send them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from scarseg_jax.study import Geometry, Study

# A short axis in DICOM's axes of space, to the left, the back and the head: columns,
# rows, and slices from base to apex, to the left, the front and the feet.
_Z = np.array([1.0, -1.0, -1.0]) / math.sqrt(3)
_X = np.array([2.0, 1.0, 1.0]) / math.sqrt(6)
_Y = np.cross(_X, _Z)
_CORNER_MM = np.array([-90.0, -40.0, 120.0])
_LPS = np.diag([-1.0, -1.0, 1.0])


def lying(study: Study) -> Geometry:
    """Returns where a study's slices would be in a patient: an oblique short axis."""
    z, y, x = study.spacing_mm
    affines = np.tile(np.eye(4), (len(study.image), 1, 1))
    affines[:, :3, :3] = _LPS @ np.stack([_X * x, _Y * y, _Z * z], axis=1)
    along = z * np.arange(len(study.image))[:, None] * _Z
    affines[:, :3, 3] = (_CORNER_MM + along) @ _LPS
    return Geometry(affines, study.spacing_mm)


def write_images(folder: Path, study: Study) -> None:
    """Writes a file for each slice; the same study gives the same bytes.

    Args:
      folder: There, and empty.
      study: Of whole numbers from 0 to 65535. It is simulated: its name goes into the
        header, as do a geometry of `lying` and nothing else of anybody.
    """
    geometry = lying(study)
    for z, plane in enumerate(study.image):
        data = _image(study, geometry.affines[z], plane.astype(np.uint16), z)
        data.save_as(folder / f"image_{z + 1:03d}.dcm", enforce_file_format=True)


def _image(study: Study, affine: np.ndarray, plane: np.ndarray, z: int) -> FileDataset:
    def uid(*of: str) -> str:
        return generate_uid(entropy_srcs=["scarseg_jax", study.patient, *of])

    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = uid("image", str(z))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, uid("image", str(z))
    data.StudyInstanceUID, data.SeriesInstanceUID = uid("study"), uid("series")
    data.PatientName = data.PatientID = study.patient
    data.Modality, data.SeriesNumber, data.InstanceNumber = "MR", 1, z + 1
    kind = "R" if study.phase_sensitive else "M"
    data.ImageType = ["ORIGINAL", "PRIMARY", kind, "NORM"]
    data.SeriesDescription = f"LGE short axis {'PSIR' if kind == 'R' else 'MAG'}"
    spacing_z, y, x = study.spacing_mm
    data.PixelSpacing, data.SliceThickness = [y, x], spacing_z
    ways = [*_X, *_Y]
    data.ImageOrientationPatient = [f"{way:.10f}" for way in ways]
    data.ImagePositionPatient = [f"{at:.8f}" for at in _LPS @ affine[:3, 3]]
    data.Rows, data.Columns = plane.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = plane.astype("<u2").tobytes()
    return data
