"""Masks to a DICOM Segmentation, slice by slice on the images they were found in.

Each slice keeps its own place, and where breath-holds tilted them, its own orientation:
what no NIfTI file can hold. Frames without a pixel are there too, since some readers
take a stack to end where its frames do.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from scarseg_jax import run
from scarseg_jax.codes import SEGMENTS
from scarseg_jax.study import Frame, Series
from scarseg_jax.writers import dicom_source

_SAME_WAY = 1e-6  # of a direction's parts; headers have as many digits
_By = SegmentAlgorithmTypeValues


def make_segmentation(
    found: run.Segmentation, series: Series, frames: Sequence[Frame]
) -> Dataset:
    """Returns the DICOM Segmentation of what was found.

    Segments are the myocardium with the scar in it, the cavity, the scar and the
    no-reflow that is called scar, as far as they are known, so that they overlap. A given
    myocardium counts as drawn by hand. The scar that networks call is an algorithm's, in
    whatever myocardium; if a reader accepted it, it was found with a reader's help, as is
    no-reflow that a reader drew; what a reader drew is by hand.

    Args:
      found: From `find_scar`.
      series: Of its study.
      frames: What the series reads.

    Raises:
      InputError: If the headers do not say what every segmentation must.
    """
    masks = masks_of(found)
    planes = [series.from_zyx(mask) for mask in masks.values()]
    study = found.study
    walls = _By.AUTOMATIC if study.myocardium is None else _By.MANUAL
    scar = _By.AUTOMATIC if found.review is None else _By.SEMIAUTOMATIC
    by = {
        "myocardium": walls,
        "cavity": walls,
        "scar": _By.MANUAL if found.scar is study.scar else scar,
        "no_reflow": scar if study.no_reflow is None else _By.SEMIAUTOMATIC,
    }
    with dicom_source.quiet():
        source = dicom_source.source_of(frames)
        dicom_source.say_what_differs(frames)
        identification = AlgorithmIdentificationSequence(
            name=dicom_source.MAKER,
            family=codes.DCM.ArtificialIntelligence,
            version=dicom_source.VERSION,
            parameters=parameters_of(found),
        )
        descriptions = [
            _describe(n, name, by[name], identification)
            for n, name in enumerate(masks, 1)
        ]
        made = Segmentation(
            source_images=source,
            pixel_array=np.stack(planes, axis=-1).astype(np.uint8),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions,
            series_number=dicom_source.series_number(
                frames, dicom_source.SEGMENTATION_SERIES
            ),
            series_description="LGE scar by scarseg_jax, for research",
            content_label="LGE_SCAR",
            content_description="Left-ventricular scar, for research",
            content_creator_name=f"{dicom_source.MAKER}^",
            omit_empty_frames=False,
            **dicom_source.maker(),
        )
        _put_in_place(made, frames)
    return made


def masks_of(found: run.Segmentation) -> Mapping[str, np.ndarray]:
    """Returns the (Z, Y, X) bool masks that are known, in the order of segments."""
    known = {
        "myocardium": found.myocardium,
        "cavity": found.cavity,
        "scar": found.scar,
        "no_reflow": found.no_reflow_in_scar,
    }
    return {name: mask for name, mask in known.items() if mask is not None}


def parameters_of(found: run.Segmentation) -> dict[str, str]:
    """Returns which networks answered, and when they call scar."""
    members = (f"{m.member.fold}.{m.member.seed}" for m in found.members)
    return {
        "protocol": found.run.name,
        "trained_on": found.run.source,
        "data_hash": found.run.data_hash,
        "members": ",".join(members),
        "threshold": f"{found.decision.threshold:g}",
        "min_area_mm2": f"{found.decision.min_area_mm2:g}",
        "min_ml": f"{found.decision.min_ml:g}",
    }


def _describe(
    number: int,
    name: str,
    by: SegmentAlgorithmTypeValues,
    identification: AlgorithmIdentificationSequence,
) -> SegmentDescription:
    label, category, kind = SEGMENTS[name]
    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=Code(*category),
        segmented_property_type=Code(*kind),
        algorithm_type=by,
        algorithm_identification=None if by is _By.MANUAL else identification,
        anatomic_regions=(
            [Code(*SEGMENTS["myocardium"].type)]
            if name in ("scar", "no_reflow")
            else None
        ),
    )


def _put_in_place(made: Dataset, frames: Sequence[Frame]) -> None:
    """Names the images that `source_of` stands for, and turns each frame as its own."""
    by_name = {dicom_source.stand_in(n): frame for n, frame in enumerate(frames, 1)}
    ways = np.array(
        [[float(v) for v in f.fields["ImageOrientationPatient"]] for f in frames]
    )
    tilted = np.ptp(ways, axis=0).max() > _SAME_WAY
    groups = made.PerFrameFunctionalGroupsSequence
    items = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in groups]
    # All before any is renamed: the segments of a slice share an item.
    sources = [by_name[item.ReferencedSOPInstanceUID] for item in items]
    for group, item, frame in zip(groups, items, sources, strict=True):
        item.update(dicom_source.reference(frame))
        if tilted:
            way = Dataset()
            way.ImageOrientationPatient = dicom_source.numbers(
                frame.fields["ImageOrientationPatient"]
            )
            group.PlaneOrientationSequence = [way]
    if tilted:
        (shared,) = made.SharedFunctionalGroupsSequence
        del shared.PlaneOrientationSequence
        # The distance was told of parallel slices.
        shared.PixelMeasuresSequence[0].pop("SpacingBetweenSlices", None)
        made.pop("DimensionOrganizationType", None)
    by_series: dict[str, list[Dataset]] = {}
    for frame in dicom_source.files_of(frames):
        uid = str(frame.fields["SeriesInstanceUID"])
        by_series.setdefault(uid, []).append(dicom_source.reference(frame))
    made.SourceImageSequence = [item for own in by_series.values() for item in own]
    made.ReferencedSeriesSequence = []
    for uid, items in by_series.items():
        listed = Dataset()
        listed.SeriesInstanceUID = uid
        listed.ReferencedInstanceSequence = items
        made.ReferencedSeriesSequence.append(listed)
