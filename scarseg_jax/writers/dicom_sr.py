"""A heart's figures to a DICOM structured report: TID 1500, beside the Segmentation.

Each segment of the Segmentation has a group of measurements, in units of UCUM, that
names it and the images it was found in.
"""

import uuid
from collections.abc import Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    SourceImageForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from scarseg_jax import run
from scarseg_jax.codes import MYOCARDIUM, PRIVATE, SEGMENTS, WALL_SEGMENTS
from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.measure.segments import APEX
from scarseg_jax.study import Frame
from scarseg_jax.writers import dicom_seg, dicom_source

_HEART = Code("241620005", "SCT", "Magnetic resonance imaging of heart")
_VOLUME, _MASS = (
    Code("118565006", "SCT", "Volume"),
    Code("118538004", "SCT", "Mass"),
)
_LV_MASS = Code("18087-7", "LN", "Left Ventricle Mass")
_OF_LV = Code("SCAR_OF_LV", PRIVATE, "Scar mass of left ventricular mass")
_LEAST = Code("SCAR_MASS_LEAST", PRIVATE, "Lowest scar mass of a 90 % interval")
_MOST = Code("SCAR_MASS_MOST", PRIVATE, "Highest scar mass of a 90 % interval")
_TRANSMURALITY = Code(
    "TRANSMURALITY", PRIVATE, "Share of the wall's thickness, where there is scar"
)
_OF_SEGMENT = Code("SCAR_OF_SEGMENT", PRIVATE, "Scar of a segment's myocardium")
_OF_SCAR = Code("NO_REFLOW_SHARE", PRIVATE, "No-reflow of the scar")
_ML, _G = Code("ml", "UCUM", "milliliter"), Code("g", "UCUM", "gram")
_PERCENT = Code("%", "UCUM", "percent")
# The same program is the same observer.
_OBSERVER = f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, dicom_source.MAKER).int}"


def make_report(
    found: run.Segmentation,
    numbers: Numbers,
    segmentation: Dataset,
    frames: Sequence[Frame],
) -> Dataset:
    """Returns the report on what was found.

    Args:
      found: From `find_scar`.
      numbers: Of it.
      segmentation: Of it, from `make_segmentation`.
      frames: What its series reads.

    Raises:
      InputError: As `make_segmentation`.
    """
    masks = dicom_seg.masks_of(found)
    with dicom_source.quiet():
        parameters = dicom_seg.parameters_of(found).items()
        by = AlgorithmIdentification(
            name=dicom_source.MAKER,
            version=dicom_source.VERSION,
            parameters=[f"{name}={value}" for name, value in parameters],
        )
        groups = [
            _group(n, name, measured, segmentation, frames, by)
            for n, name in enumerate(masks, 1)
            if (measured := _measured(name, numbers))
        ]
        observer = ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=_OBSERVER,
                name=dicom_source.MAKER,
                manufacturer_name=dicom_source.MAKER,
                model_name=f"{dicom_source.MAKER} {dicom_source.VERSION}",
            ),
        )
        report = MeasurementReport(
            observation_context=ObservationContext(observer_device_context=observer),
            procedure_reported=_HEART,
            imaging_measurements=groups,
        )
        made = Comprehensive3DSR(
            evidence=[segmentation, *_evidence(frames)],
            content=report[0],
            series_number=dicom_source.series_number(
                frames, dicom_source.REPORT_SERIES
            ),
            series_description="LGE scar measures by scarseg_jax, for research",
            is_complete=True,
            **dicom_source.maker(),
        )
        dicom_source.declare_private_codes(made)
    return made


def _measured(name: str, numbers: Numbers) -> list[Measurement]:
    """Returns what is known of a segment; None is left out.

    That of the 17 segments of the myocardium names them as its sites; of segments that an
    estimate alone has turned, nothing is archived.
    """
    guessed = numbers.reference is not None and numbers.reference.estimated
    least_g, most_g = numbers.scar_mass_between_g or (None, None)
    each = {
        "myocardium": [
            (_LV_MASS, numbers.lv_mass_g, _G),
            (_VOLUME, numbers.lv_volume_ml, _ML),
        ],
        "scar": [
            (_MASS, numbers.scar_mass_g, _G),
            (_VOLUME, numbers.scar_volume_ml, _ML),
            (_LEAST, least_g, _G),
            (_MOST, most_g, _G),
            (_OF_LV, numbers.scar_of_lv_percent, _PERCENT),
            (_TRANSMURALITY, numbers.transmurality_of_scar_percent, _PERCENT),
        ],
        "no_reflow": [
            (_MASS, numbers.no_reflow_mass_g, _G),
            (_VOLUME, numbers.no_reflow_volume_ml, _ML),
            (_OF_SCAR, numbers.no_reflow_of_scar_percent, _PERCENT),
        ],
    }
    whole = [
        Measurement(name=concept, value=value, unit=unit)
        for concept, value, unit in each.get(name, [])
        if value is not None
    ]
    parts = [
        Measurement(
            name=_OF_SEGMENT,
            value=one.scar_of_segment_percent,
            unit=_PERCENT,
            finding_sites=[FindingSite(Code(*WALL_SEGMENTS[one.number - 1]))],
        )
        for one in numbers.segments
        if name == "scar"
        and one.scar_of_segment_percent is not None
        and (not guessed or one.number == APEX)
    ]
    return whole + parts


def _group(
    number: int,
    name: str,
    measured: list[Measurement],
    segmentation: Dataset,
    frames: Sequence[Frame],
    by: AlgorithmIdentification,
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    label, category, kind = SEGMENTS[name]
    sources = [dicom_source.reference(frame) for frame in frames]
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(), identifier=label),
        referenced_segment=ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=number,
            source_images=[
                SourceImageForSegmentation(
                    source.ReferencedSOPClassUID,
                    source.ReferencedSOPInstanceUID,
                    [source.ReferencedFrameNumber]
                    if "ReferencedFrameNumber" in source
                    else None,
                )
                for source in sources
            ],
        ),
        finding_type=Code(*kind),
        finding_category=Code(*category),
        finding_sites=[FindingSite(Code(*MYOCARDIUM))],
        algorithm_id=by,
        measurements=measured,
    )


def _evidence(frames: Sequence[Frame]) -> list[Dataset]:
    """Returns the header of each file, under its own name."""
    found = []
    for frame in dicom_source.files_of(frames):
        (data,) = dicom_source.source_of([frame])
        data.SOPClassUID = str(frame.fields["SOPClassUID"])
        data.SOPInstanceUID = str(frame.fields["SOPInstanceUID"])
        found.append(data)
    return found
