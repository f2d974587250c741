"""Simulated patients as scanners and workstations write them: DICOM and contours."""

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RTStructureSetStorage,
)

from scarseg_jax.study import Geometry, Study

NAME, IDENTITY, DATE = "Doe^Planted", "ID-4711-PLANTED", "19870605"
ROOT = "1.2.826.0.1.3680043.9.7777"
KINDS = {"magnitude": "M", "phase-sensitive": "R", "phase": "P"}
_LPS = np.diag([-1.0, -1.0, 1.0])
# NIfTI's axes: columns to the left, slices to the left, the front and the feet.
_Z = np.array([-1.0, 1.0, -1.0]) / math.sqrt(3)
_X = np.array([-2.0, -1.0, 1.0]) / math.sqrt(6)
_Y = np.cross(_X, _Z)


def short_axis(
    slices: int, spacing_mm: tuple[float, float, float], at_mm: Any = None
) -> Geometry:
    """Returns an oblique short-axis stack with slices at these places, or even ones."""
    z, y, x = spacing_mm
    at_mm = z * np.arange(slices) if at_mm is None else np.asarray(at_mm)
    affines = np.tile(np.eye(4), (slices, 1, 1))
    affines[:, :3, :3] = np.stack([_X * x, _Y * y, _Z * z], axis=1)
    affines[:, :3, 3] = np.array([90.0, 40.0, 120.0]) + at_mm[:, None] * _Z
    return Geometry(affines, spacing_mm)


def breathing(geometry: Geometry) -> Geometry:
    """Returns a stack whose third slice is moved in its plane and the last tilted."""
    affines = geometry.affines.copy()
    affines[2, :3, 3] += 3.3 * _X - 1.7 * _Y
    angle = math.radians(0.7)
    step = np.linalg.norm(affines[-1, :3, 1])
    affines[-1, :3, 1] = step * (math.cos(angle) * _Y + math.sin(angle) * _Z)
    return Geometry(affines, geometry.spacing_mm)


def images(
    study: Study,
    *,
    number: int = 7,
    kind: str = "phase-sensitive",
    slope: float = 1.0,
    offset: float = 0.0,
    turned: bool = False,
    **values: Any,
) -> list[FileDataset]:
    """Returns a study's slices, one file each, as whole numbers.

    Args:
      study: Its image times `slope` plus `offset` is what is meant: whole numbers.
      number: Of the series.
      kind: A key of `KINDS`.
      slope: Of the rescaling.
      offset: Of the rescaling.
      turned: Whether rows and columns are exchanged and run backwards, and slices too.
      values: Of the header, by keyword, for all.
    """
    found = []
    for z, plane in enumerate(study.image):
        affine = study.geometry.affines[z]
        x, y, corner = affine[:3, 0], affine[:3, 1], affine[:3, 3]
        if turned:
            corner = corner + x * (plane.shape[1] - 1) + y * (plane.shape[0] - 1)
            plane, x, y = plane[::-1, ::-1].T, -y, -x
        data = _header(number, z)
        data.SeriesDescription = f"LGE {kind} of {DATE}"
        data.ImageType = ["ORIGINAL", "PRIMARY", KINDS[kind], "NORM"]
        x_mm, y_mm = (float(np.linalg.norm(v)) for v in (x, y))
        data.PixelSpacing = [round(y_mm, 8), round(x_mm, 8)]
        ways = np.concatenate([_LPS @ x / x_mm, _LPS @ y / y_mm])
        data.ImageOrientationPatient = [f"{v:.10f}" for v in ways]
        data.ImagePositionPatient = [f"{v:.8f}" for v in _LPS @ corner]
        data.InstanceNumber = z + 1
        data.RescaleSlope, data.RescaleIntercept = slope, offset
        _put(data, np.rint((plane - offset) / slope).astype(np.int16))
        data.update({key: value for key, value in _elements(values).items()})
        found.append(data)
    return found


def enhanced(single: list[FileDataset]) -> FileDataset:
    """Returns single images as one file of many frames, in another order."""
    data = _header(int(single[0].SeriesNumber), 99)
    data.SOPClassUID = EnhancedMRImageStorage
    data.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    data.SeriesDescription = single[0].SeriesDescription
    data.ImageType = ["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"]
    order = np.random.default_rng(1).permutation(len(single))
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(
        ImageOrientationPatient=single[0].ImageOrientationPatient
    )
    shared.PixelMeasuresSequence = _item(
        PixelSpacing=single[0].PixelSpacing, SliceThickness=8
    )
    del data.InversionTime
    if "InversionTime" in single[0]:
        shared.MRModifierSequence = _item(
            InversionRecovery="YES", InversionTimes=[float(single[0].InversionTime)]
        )
    kinds = {"M": "MAGNITUDE", "R": "REAL", "P": "PHASE"}
    groups = []
    for i in order:
        group = Dataset()
        group.PlanePositionSequence = _item(
            ImagePositionPatient=single[i].ImagePositionPatient
        )
        group.PixelValueTransformationSequence = _item(
            RescaleSlope=single[i].RescaleSlope,
            RescaleIntercept=single[i].RescaleIntercept,
        )
        if "TriggerTime" in single[i]:
            group.CardiacSynchronizationSequence = _item(
                NominalCardiacTriggerDelayTime=float(single[i].TriggerTime)
            )
        group.MRImageFrameTypeSequence = _item(
            ComplexImageComponent=kinds[single[i].ImageType[2]]
        )
        groups.append(group)
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    _put(data, np.stack([single[i].pixel_array for i in order]))
    data.NumberOfFrames = len(order)
    return data


def write(folder: Path, files: list[FileDataset], *, seed: int = 0) -> Path:
    """Writes files under shuffled names that say who it is; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, i in enumerate(np.random.default_rng(seed).permutation(len(files))):
        home = folder / f"sub{n % 2}"
        home.mkdir(exist_ok=True)
        name = f"{IDENTITY}_{files[i].SeriesNumber}_{n}.dcm"
        files[i].save_as(home / name, enforce_file_format=True)
    return folder


def sop_uid(number: int, z: int) -> str:
    """Returns what names an image."""
    return f"{ROOT}.{number}.{1000 + z}.55555555"


def workspace(
    contours: list[tuple[str, str, np.ndarray]], *, per_pixel: int | None = 4
) -> str:
    """Returns a cvi42 workspace with (image, name, points in pixels)."""
    by_image: dict[str, list[str]] = {}
    for image, name, points in contours:
        listed = "".join(
            f"<List:item><Point:x>{x}</Point:x><Point:y>{y}</Point:y></List:item>"
            for x, y in np.rint(points * (per_pixel or 1)).astype(int)
        )
        resolution = (
            f'<Hash:item Hash:key="SubpixelResolution">{per_pixel}</Hash:item>'
            if per_pixel is not None
            else ""
        )
        by_image.setdefault(image, []).append(
            f'<Hash:item Hash:key="{name}">{resolution}'
            f'<Hash:item Hash:key="Points">{listed}</Hash:item></Hash:item>'
        )
    body = "".join(
        f'<Hash:item Hash:key="{image}"><Hash:item Hash:key="Contours">'
        f"{''.join(own)}</Hash:item></Hash:item>"
        for image, own in by_image.items()
    )
    return (
        '<?xml version="1.0"?><Root xmlns:Hash="h" xmlns:List="l" xmlns:Point="p">'
        '<Hash:item Hash:key="StudyMapStates"><List:item>'
        f'<Hash:item Hash:key="ImageStates">{body}</Hash:item>'
        "</List:item></Hash:item></Root>"
    )


def structure_set(
    regions: Any,
    *,
    kind: str = "CLOSED_PLANAR",
    frame_of_reference: str = f"{ROOT}.2",
) -> FileDataset:
    """Returns an RT Structure Set.

    Args:
      regions: Pairs of a name and lines, each a pair of the image that it names, or
        None, and its (N, 3) points in mm, in DICOM's axes.
      kind: Of the lines.
      frame_of_reference: Of the points.
    """
    data = _header(90, 0)
    data.SOPClassUID = RTStructureSetStorage
    data.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    data.Modality, data.FrameOfReferenceUID = "RTSTRUCT", frame_of_reference
    names, lines = [], []
    for number, (name, own) in enumerate(regions, 1):
        names.append(_elements({"ROINumber": number, "ROIName": name}))
        contours = []
        for image, points in own:
            values = [f"{value:.4f}" for value in np.ravel(points)]
            contour = _elements({"ContourGeometricType": kind, "ContourData": values})
            if image:
                contour.ContourImageSequence = _item(ReferencedSOPInstanceUID=image)
            contours.append(contour)
        lines.append(_elements({"ReferencedROINumber": number}))
        lines[-1].ContourSequence = Sequence(contours)
    data.StructureSetROISequence = Sequence(names)
    data.ROIContourSequence = Sequence(lines)
    return data


def on_slice(geometry: Geometry, z: int, points_px: np.ndarray) -> np.ndarray:
    """Returns the (N, 3) mm, in DICOM's axes, of (N, 2) points (x, y) of a slice."""
    affine = geometry.affines[z]
    return (points_px @ affine[:3, :2].T + affine[:3, 3]) @ _LPS


def circle(y: float, x: float, radius: float) -> np.ndarray:
    """Returns (N, 2) points (x, y)."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def _header(number: int, z: int) -> FileDataset:
    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = sop_uid(number, z)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientName, data.PatientID, data.PatientBirthDate = NAME, IDENTITY, DATE
    data.StudyDate = datetime.date(1987, 6, 5).strftime("%Y%m%d")
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, sop_uid(number, z)
    data.StudyInstanceUID, data.FrameOfReferenceUID = f"{ROOT}.1", f"{ROOT}.2"
    data.SeriesInstanceUID = f"{ROOT}.9{number:08d}"
    data.SeriesNumber, data.Modality = number, "MR"
    data.SliceThickness, data.InversionTime = 8, 300
    return data


def _put(data: Dataset, pixels: np.ndarray) -> None:
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    data.PixelData = np.ascontiguousarray(pixels).tobytes()


def _elements(values: dict[str, Any]) -> Dataset:
    made = Dataset()
    for key, value in values.items():
        setattr(made, key, value)
    return made


def _item(**values: Any) -> Sequence:
    return Sequence([_elements(values)])
