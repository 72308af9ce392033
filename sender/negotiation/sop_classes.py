"""SOP classes, PS3.4 and PS3.6 table A-1: the abstract syntaxes that services propose.

The table holds all that the installed pynetdicom knows; a test keeps it so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

VERIFICATION = "1.2.840.10008.1.1"
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

_STORAGE_SERVICES = frozenset({"Storage", "Non-Patient Object Storage"})


@dataclass(frozen=True, slots=True)
class SopClass:
    """One row of the table.

    Attributes:
        name: the standard's name, PS3.6 table A-1.
        service: the service class that uses it, PS3.4.
    """

    uid: str
    name: str
    keyword: str
    service: str
    retired: bool = False


# fmt: off
SOP_CLASSES: tuple[SopClass, ...] = (
    SopClass("1.2.840.10008.1.1", "Verification SOP Class", "Verification", "Verification"),
    SopClass("1.2.840.10008.5.1.4.1.1.1", "Computed Radiography Image Storage", "ComputedRadiographyImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.1.1", "Digital X-Ray Image Storage - For Presentation", "DigitalXRayImageStorageForPresentation", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.1.1.1", "Digital X-Ray Image Storage - For Processing", "DigitalXRayImageStorageForProcessing", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.1.2", "Digital Mammography X-Ray Image Storage - For Presentation", "DigitalMammographyXRayImageStorageForPresentation", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.1.2.1", "Digital Mammography X-Ray Image Storage - For Processing", "DigitalMammographyXRayImageStorageForProcessing", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.1.3", "Digital Intra-Oral X-Ray Image Storage - For Presentation", "DigitalIntraOralXRayImageStorageForPresentation", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.1.3.1", "Digital Intra-Oral X-Ray Image Storage - For Processing", "DigitalIntraOralXRayImageStorageForProcessing", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.2", "CT Image Storage", "CTImageStorage", "Storage"),
    SopClass("1.2.840.10008.5.1.4.1.1.2.1", "Enhanced CT Image Storage", "EnhancedCTImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.2.2", "Legacy Converted Enhanced CT Image Storage", "LegacyConvertedEnhancedCTImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.3.1", "Ultrasound Multi-frame Image Storage", "UltrasoundMultiFrameImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.4", "MR Image Storage", "MRImageStorage", "Storage"),
    SopClass("1.2.840.10008.5.1.4.1.1.4.1", "Enhanced MR Image Storage", "EnhancedMRImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.4.2", "MR Spectroscopy Storage", "MRSpectroscopyStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.4.3", "Enhanced MR Color Image Storage", "EnhancedMRColorImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.4.4", "Legacy Converted Enhanced MR Image Storage", "LegacyConvertedEnhancedMRImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.6.1", "Ultrasound Image Storage", "UltrasoundImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.6.2", "Enhanced US Volume Storage", "EnhancedUSVolumeStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.6.3", "Photoacoustic Image Storage", "PhotoacousticImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.7", "Secondary Capture Image Storage", "SecondaryCaptureImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.7.1", "Multi-frame Single Bit Secondary Capture Image Storage", "MultiFrameSingleBitSecondaryCaptureImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.7.2", "Multi-frame Grayscale Byte Secondary Capture Image Storage", "MultiFrameGrayscaleByteSecondaryCaptureImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.7.3", "Multi-frame Grayscale Word Secondary Capture Image Storage", "MultiFrameGrayscaleWordSecondaryCaptureImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.7.4", "Multi-frame True Color Secondary Capture Image Storage", "MultiFrameTrueColorSecondaryCaptureImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform Storage", "TwelveLeadECGWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.1.2", "General ECG Waveform Storage", "GeneralECGWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.1.3", "Ambulatory ECG Waveform Storage", "AmbulatoryECGWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.1.4", "General 32-bit ECG Waveform Storage", "General32bitECGWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.2.1", "Hemodynamic Waveform Storage", "HemodynamicWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.3.1", "Cardiac Electrophysiology Waveform Storage", "CardiacElectrophysiologyWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.4.1", "Basic Voice Audio Waveform Storage", "BasicVoiceAudioWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.4.2", "General Audio Waveform Storage", "GeneralAudioWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.5.1", "Arterial Pulse Waveform Storage", "ArterialPulseWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.6.1", "Respiratory Waveform Storage", "RespiratoryWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.6.2", "Multi-channel Respiratory Waveform Storage", "MultichannelRespiratoryWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.7.1", "Routine Scalp Electroencephalogram Waveform Storage", "RoutineScalpElectroencephalogramWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.7.2", "Electromyogram Waveform Storage", "ElectromyogramWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.7.3", "Electrooculogram Waveform Storage", "ElectrooculogramWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.7.4", "Sleep Electroencephalogram Waveform Storage", "SleepElectroencephalogramWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.8.1", "Body Position Waveform Storage", "BodyPositionWaveformStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.100.1", "WaveformPresentationStateStorage", "WaveformPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.9.100.2", "WaveformAcquisitionPresentationStateStorage", "WaveformAcquisitionPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State Storage", "GrayscaleSoftcopyPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.2", "Color Softcopy Presentation State Storage", "ColorSoftcopyPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.3", "Pseudo-Color Softcopy Presentation State Storage", "PseudoColorSoftcopyPresentationStageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.4", "Blending Softcopy Presentation State Storage", "BlendingSoftcopyPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.5", "XA/XRF Grayscale Softcopy Presentation State Storage", "XAXRFGrayscaleSoftcopyPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.6", "Grayscale Planar MPR Volumetric Presentation State Storage", "GrayscalePlanarMPRVolumetricPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.7", "Compositing Planar MPR Volumetric Presentation State Storage", "CompositingPlanarMPRVolumetricPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.8", "Advanced Blending Presentation State Storage", "AdvancedBlendingPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.9", "Volume Rendering Volumetric Presentation State Storage", "VolumeRenderingVolumetricPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.10", "Segmented Volume Rendering Volumetric Presentation State Storage", "SegmentedVolumeRenderingVolumetricPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.11", "Multiple Volume Rendering Volumetric Presentation State Storage", "MultipleVolumeRenderingVolumetricPresentationStateStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.11.12", "Variable Modality LUT Softcopy Presentation State Storage", "VariableModalityLUTSoftcopyPresentationStageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.12.1", "X-Ray Angiographic Image Storage", "XRayAngiographicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.12.1.1", "Enhanced XA Image Storage", "EnhancedXAImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.12.2", "X-Ray Radiofluoroscopic Image Storage", "XRayRadiofluoroscopicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.12.2.1", "Enhanced XRF Image Storage", "EnhancedXRFImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.13.1.1", "X-Ray 3D Angiographic Image Storage", "XRay3DAngiographicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.13.1.2", "X-Ray 3D Craniofacial Image Storage", "XRay3DCraniofacialImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.13.1.3", "Breast Tomosynthesis Image Storage", "BreastTomosynthesisImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.13.1.4", "Breast Projection X-Ray Image Storage - For Presentation", "BreastProjectionXRayImageStorageForPresentation", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.13.1.5", "Breast Projection X-Ray Image Storage - For Processing", "BreastProjectionXRayImageStorageForProcessing", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.14.1", "Intravascular Optical Coherence Tomography Image Storage - For Presentation", "IntravascularOpticalCoherenceTomographyImageStorageForPresentation", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.14.2", "Intravascular Optical Coherence Tomography Image Storage - For Processing", "IntravascularOpticalCoherenceTomographyImageStorageForProcessing", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.20", "Nuclear Medicine Image Storage", "NuclearMedicineImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.30", "Parametric Map Storage", "ParametricMapStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.66", "Raw Data Storage", "RawDataStorage", "Storage"),
    SopClass("1.2.840.10008.5.1.4.1.1.66.1", "Spatial Registration Storage", "SpatialRegistrationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.66.2", "Spatial Fiducials Storage", "SpatialFiducialsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.66.3", "Deformable Spatial Registration Storage", "DeformableSpatialRegistrationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation Storage", "SegmentationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.66.5", "Surface Segmentation Storage", "SurfaceSegmentationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.66.6", "Tractography Results Storage", "TractographyResultsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.66.7", "LabelMapSegmentationStorage", "LabelMapSegmentationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.66.8", "HeightMapSegmentationStorage", "HeightMapSegmentationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.67", "Real World Value Mapping Storage", "RealWorldValueMappingStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.68.1", "Surface Scan Mesh Storage", "SurfaceScanMeshStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.68.2", "Surface Scan Point Cloud Storage", "SurfaceScanPointCloudStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.1", "VL Endoscopic Image Storage", "VLEndoscopicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.1.1", "Video Endoscopic Image Storage", "VideoEndoscopicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.2", "VL Microscopic Image Storage", "VLMicroscopicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.2.1", "Video Microscopic Image Storage", "VideoMicroscopicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.3", "VL Slide-Coordinates Microscopic Image Storage", "VLSlideCoordinatesMicroscopicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.4", "VL Photographic Image Storage", "VLPhotographicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.4.1", "Video Photographic Image Storage", "VideoPhotographicImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.5.1", "Ophthalmic Photography 8 Bit Image Storage", "OphthalmicPhotography8BitImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.5.2", "Ophthalmic Photography 16 Bit Image Storage", "OphthalmicPhotography16BitImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.5.3", "Stereometric Relationship Storage", "StereometricRelationshipStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.5.4", "Ophthalmic Tomography Image Storage", "OphthalmicTomographyImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.5.5", "Wide Field Ophthalmic Photography Stereographic Projection Image Storage", "WideFieldOphthalmicPhotographyStereographicProjectionImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.5.6", "Wide Field Ophthalmic Photography 3D Coordinates Image Storage", "WideFieldOphthalmicPhotography3DCoordinatesImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.5.7", "Ophthalmic Optical Coherence Tomography En Face Image Storage", "OphthalmicOpticalCoherenceTomographyEnFaceImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.5.8", "Ophthalmic Optical Coherence Tomography B-scan Volume Analysis Storage", "OphthlamicOpticalCoherenceTomographyBscanVolumeAnalysisStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.6", "VL Whole Slide Microscopy Image Storage", "VLWholeSlideMicroscopyImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.7", "Dermoscopic Photography Image Storage", "DermoscopicPhotographyImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.8", "Confocal Microscopy Image Storage", "ConfocalMicroscopyImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.77.1.9", "Confocal Microscopy Tiled Pyramidal Image Storage", "ConfocalMicroscopyTiledPyramidalImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.78.1", "Lensometry Measurements Storage", "LensometryMeasurementsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.78.2", "Autorefraction Measurements Storage", "AutorefractionMeasurementsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.78.3", "Keratometry Measurements Storage", "KeratometryMeasurementsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.78.4", "Subjective Refraction Measurements Storage", "SubjectiveRefractionMeasurementsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.78.5", "Visual Acuity Measurements Storage", "VisualAcuityMeasurementsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.78.6", "Spectacle Prescription Report Storage", "SpectaclePrescriptionReportStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.78.7", "Ophthalmic Axial Measurements Storage", "OphthalmicAxialMeasurementsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.78.8", "Intraocular Lens Calculations Storage", "IntraocularLensCalculationsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.79.1", "Macular Grid Thickness and Volume Report Storage", "MacularGridThicknessAndVolumeReportStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.80.1", "Ophthalmic Visual Field Static Perimetry Measurements Storage", "OphthalmicVisualFieldStaticPerimetryMeasurementsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.81.1", "Ophthalmic Thickness Map Storage", "OphthalmicThicknessMapStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.82.1", "Corneal Topography Map Storage", "CornealTopographyMapStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage", "BasicTextSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.22", "Enhanced SR Storage", "EnhancedSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR Storage", "ComprehensiveSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.34", "Comprehensive 3D SR Storage", "Comprehensive3DSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.35", "Extensible SR Storage", "ExtensibleSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.40", "Procedure Log Storage", "ProcedureLogStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.50", "Mammography CAD SR Storage", "MammographyCADSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection Document Storage", "KeyObjectSelectionDocumentStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.65", "Chest CAD SR Storage", "ChestCADSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.67", "X-Ray Radiation Dose SR Storage", "XRayRadiationDoseSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.68", "Radiopharmaceutical Radiation Dose SR Storage", "RadiopharmaceuticalRadiationDoseSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.69", "Colon CAD SR Storage", "ColonCADSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.70", "Implantation Plan SR Storage", "ImplantationPlanSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.71", "Acquisition Context SR Storage", "AcquisitionContextSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.72", "Simplified Adult Echo SR Storage", "SimplifiedAdultEchoSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.73", "Patient Radiation Dose SR Storage", "PatientRadiationDoseSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.74", "Planned Imaging Agent Administration SR Storage", "PlannedImagingAgentAdministrationSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.75", "Performed Imaging Agent Administration SR Storage", "PerformedImagingAgentAdministrationSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.76", "Enhanced X-Ray Radiation Dose SR Storage", "EnhancedXRayRadiationDoseSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.88.77", "Waveform Annotation SR Storage", "WaveformAnnotationSRStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.90.1", "Content Assessment Results Storage", "ContentAssessmentResultsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.91.1", "Microscopy Bulk Simple Annotations Storage", "MicroscopyBulkSimpleAnnotationsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF Storage", "EncapsulatedPDFStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.104.2", "Encapsulated CDA Storage", "EncapsulatedCDAStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.104.3", "Encapsulated STL Storage", "EncapsulatedSTLStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.104.4", "Encapsulated OBJ Storage", "EncapsulatedOBJStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.104.5", "Encapsulated MTL Storage", "EncapsulatedMTLStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.128", "Positron Emission Tomography Image Storage", "PositronEmissionTomographyImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.128.1", "Legacy Converted Enhanced PET Image Storage", "LegacyConvertedEnhancedPETImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.130", "Enhanced PET Image Storage", "EnhancedPETImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.131", "Basic Structured Display Storage", "BasicStructuredDisplayStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.200.2", "CT Performed Procedure Protocol Storage", "CTPerformedProcedureProtocolStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.200.8", "XA Performed Procedure Protocol Storage", "XAPerformedProcedureProtocolStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.1", "RT Image Storage", "RTImageStorage", "Storage"),
    SopClass("1.2.840.10008.5.1.4.1.1.481.2", "RT Dose Storage", "RTDoseStorage", "Storage"),
    SopClass("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set Storage", "RTStructureSetStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.4", "RT Beams Treatment Record Storage", "RTBeamsTreatmentRecordStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.5", "RT Plan Storage", "RTPlanStorage", "Storage"),
    SopClass("1.2.840.10008.5.1.4.1.1.481.6", "RT Brachy Treatment Record Storage", "RTBrachyTreatmentRecordStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.7", "RT Treatment Summary Record Storage", "RTTreatmentSummaryRecordStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.8", "RT Ion Plan Storage", "RTIonPlanStorage", "Storage"),
    SopClass("1.2.840.10008.5.1.4.1.1.481.9", "RT Ion Beams Treatment Record Storage", "RTIonBeamsTreatmentRecordStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.10", "RT Physician Intent Storage", "RTPhysicianIntentStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.11", "RT Segment Annotation Storage", "RTSegmentAnnotationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.12", "RT Radiation Set Storage", "RTRadiationSetStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.13", "C-Arm Photon-Electron Radiation Storage", "CArmPhotonElectronRadiationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.14", "Tomotherapeutic Radiation Storage", "TomotherapeuticRadiationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.15", "Robotic-Arm Radiation Storage", "RoboticArmRadiationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.16", "RT Radiation Record Set Storage", "RTRadiationRecordSetStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.17", "RT Radiation Salvage Record Storage", "RTRadiationSalvageRecordStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.18", "Tomotherapeutic Radiation Record Storage", "TomotherapeuticRadiationRecordStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.19", "C-Arm Photon-Electron Radiation Record Storage", "CArmPhotonElectronRadiationRecordStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.20", "Robotic Radiation Record Storage", "RoboticArmRadiationRecordStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.21", "RT Radiation Set Delivery Instruction Storage", "RTRadiationSetDeliveryInstructionStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.22", "RT Treatment Preparation Storage", "RTTreatmentPreparationStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.23", "Enhanced RT Image Storage", "EnhancedRTImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.24", "Enhanced Continuous RT Image Storage", "EnhancedContinuousRTImageStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.481.25", "RT Patient Position Acquisition Instruction Storage", "RTPatientPositionAcquisitionInstructionStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.34.7", "RT Beams Delivery Instruction Storage", "RTBeamsDeliveryInstructionStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.34.10", "RT Brachy Application Setup Delivery Instruction Storage", "RTBrachyApplicationSetupDeliveryInstructionsStorage", "Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.38.1", "Hanging Protocol Storage", "HangingProtocolStorage", "Non-Patient Object Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.39.1", "Color Palette Storage", "ColorPaletteStorage", "Non-Patient Object Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.43.1", "Generic Implant Template Storage", "GenericImplantTemplateStorage", "Non-Patient Object Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.44.1", "Implant Assembly Template Storage", "ImplantAssemblyTemplateStorage", "Non-Patient Object Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.45.1", "Implant Template Group Storage", "ImplantTemplateGroupStorage", "Non-Patient Object Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.200.1", "CT Defined Procedure Protocol Storage", "CTDefinedProcedureProtocolStorage", "Non-Patient Object Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.200.3", "Protocol Approval Storage", "ProtocolApprovalStorage", "Non-Patient Object Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.200.7", "XA Defined Procedure Protocol Storage", "XADefinedProcedureProtocolStorage", "Non-Patient Object Storage"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.201.1", "Inventory Storage", "InventoryStorage", "Non-Patient Object Storage"),  # noqa: E501
    SopClass("1.2.840.10008.1.40", "Procedural Event Logging SOP Class", "ProceduralEventLogging", "Application Event Logging"),  # noqa: E501
    SopClass("1.2.840.10008.1.42", "Substance Administration Logging SOP Class", "SubstanceAdministrationLogging", "Application Event Logging"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.31", "Modality Worklist Information Model - FIND", "ModalityWorklistInformationFind", "Basic Worklist Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.39.2", "Color Palette Query/Retrieve Information Model - FIND", "ColorPaletteInformationModelFind", "Color Palette Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.39.3", "Color Palette Query/Retrieve Information Model - MOVE", "ColorPaletteInformationModelMove", "Color Palette Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.39.4", "Color Palette Query/Retrieve Information Model - GET", "ColorPaletteInformationModelGet", "Color Palette Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.20.1", "Defined Procedure Protocol Information Model - FIND", "DefinedProcedureProtocolInformationModelFind", "Defined Procedure Protocol Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.20.2", "Defined Procedure Protocol Information Model - MOVE", "DefinedProcedureProtocolInformationModelMove", "Defined Procedure Protocol Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.20.3", "Defined Procedure Protocol Information Model - GET", "DefinedProcedureProtocolInformationModelGet", "Defined Procedure Protocol Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.40", "Display System SOP Class", "DisplaySystem", "Display System Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.38.2", "Hanging Protocol Information Model - FIND", "HangingProtocolInformationModelFind", "Hanging Protocol Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.38.3", "Hanging Protocol Information Model - MOVE", "HangingProtocolInformationModelMove", "Hanging Protocol Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.38.4", "Hanging Protocol Information Model - GET", "HangingProtocolInformationModelGet", "Hanging Protocol Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.43.2", "Generic Implant Template Information Model - FIND", "GenericImplantTemplateInformationModelFind", "Implant Template Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.43.3", "Generic Implant Template Information Model - MOVE", "GenericImplantTemplateInformationModelMove", "Implant Template Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.43.4", "Generic Implant Template Information Model - GET", "GenericImplantTemplateInformationModelGet", "Implant Template Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.44.2", "Implant Assembly Template Information Model - FIND", "ImplantAssemblyTemplateInformationModelFind", "Implant Template Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.44.3", "Implant Assembly Template Information Model - MOVE", "ImplantAssemblyTemplateInformationModelMove", "Implant Template Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.44.4", "Implant Assembly Template Information Model - GET", "ImplantAssemblyTemplateInformationModelGet", "Implant Template Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.45.2", "Implant Template Group Information Model - FIND", "ImplantTemplateGroupInformationModelFind", "Implant Template Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.45.3", "Implant Template Group Information Model - MOVE", "ImplantTemplateGroupInformationModelMove", "Implant Template Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.45.4", "Implant Template Group Information Model - GET", "ImplantTemplateGroupInformationModelGet", "Implant Template Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.33", "Instance Availability Notification SOP Class", "InstanceAvailabilityNotification", "Instance Availability Notification"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.201.2", "Inventory - FIND", "InventoryFind", "Inventory Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.201.3", "Inventory - MOVE", "InventoryMove", "Inventory Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.201.4", "Inventory - GET", "InventoryGet", "Inventory Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.33", "Media Creation Management SOP Class UID", "MediaCreationManagement", "Media Creation Management"),  # noqa: E501
    SopClass("1.2.840.10008.1.3.10", "Media Storage Directory Storage", "MediaStorageDirectoryStorage", "Media Storage"),  # noqa: E501
    SopClass("1.2.840.10008.3.1.2.3.3", "Modality Performed Procedure Step SOP Class", "ModalityPerformedProcedureStep", "Modality Performed Procedure Step"),  # noqa: E501
    SopClass("1.2.840.10008.3.1.2.3.4", "Modality Performed Procedure Step Retrieve SOP Class", "ModalityPerformedProcedureStepRetrieve", "Modality Performed Procedure Step"),  # noqa: E501
    SopClass("1.2.840.10008.3.1.2.3.5", "Modality Performed Procedure Step Notification SOP Class", "ModalityPerformedProcedureStepNotification", "Modality Performed Procedure Step"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.1", "Basic Film Session SOP Class", "BasicFilmSession", "Print Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.2", "Basic Film Box SOP Class", "BasicFilmBox", "Print Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.4", "Basic Grayscale Image Box SOP Class", "BasicGrayscaleImageBox", "Print Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.4.1", "Basic Color Image Box SOP Class", "BasicColorImageBox", "Print Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.14", "Print Job SOP Class", "PrintJob", "Print Management"),
    SopClass("1.2.840.10008.5.1.1.15", "Basic Annotation Box SOP Class", "BasicAnnotationBox", "Print Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.16", "Printer SOP Class", "Printer", "Print Management"),
    SopClass("1.2.840.10008.5.1.1.16.376", "Printer Configuration Retrieval SOP Class", "PrinterConfigurationRetrieval", "Print Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.23", "Presentation LUT SOP Class", "PresentationLUT", "Print Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.9", "Basic Grayscale Print Management Meta SOP Class", "BasicGrayscalePrintManagementMeta", "Print Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.1.18", "Basic Color Print Management Meta SOP Class", "BasicColorPrintManagementMeta", "Print Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.200.4", "Protocol Approval Information Model - FIND", "ProtocolApprovalInformationModelFind", "Protocol Approval Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.200.5", "Protocol Approval Information Model - MOVE", "ProtocolApprovalInformationModelMove", "Protocol Approval Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.200.6", "Protocol Approval Information Model - GET", "ProtocolApprovalInformationModelGet", "Protocol Approval Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.1.1", "Patient Root Query/Retrieve Information Model - FIND", "PatientRootQueryRetrieveInformationModelFind", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.1.2", "Patient Root Query/Retrieve Information Model - MOVE", "PatientRootQueryRetrieveInformationModelMove", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.1.3", "Patient Root Query/Retrieve Information Model - GET", "PatientRootQueryRetrieveInformationModelGet", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.2.1", "Study Root Query/Retrieve Information Model - FIND", "StudyRootQueryRetrieveInformationModelFind", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.2.2", "Study Root Query/Retrieve Information Model - MOVE", "StudyRootQueryRetrieveInformationModelMove", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.2.3", "Study Root Query/Retrieve Information Model - GET", "StudyRootQueryRetrieveInformationModelGet", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.3.1", "Patient/Study Only Query/Retrieve Information Model - FIND", "PatientStudyOnlyQueryRetrieveInformationModelFind", "Query/Retrieve", retired=True),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.3.2", "Patient/Study Only Query/Retrieve Information Model - MOVE", "PatientStudyOnlyQueryRetrieveInformationModelMove", "Query/Retrieve", retired=True),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.3.3", "Patient/Study Only Query/Retrieve Information Model - GET", "PatientStudyOnlyQueryRetrieveInformationModelGet", "Query/Retrieve", retired=True),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.4.2", "Composite Instance Root Retrieve - MOVE", "CompositeInstanceRootRetrieveMove", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.4.3", "Composite Instance Root Retrieve - GET", "CompositeInstanceRootRetrieveGet", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.2.5.3", "Composite Instance Retrieve Without Bulk Data - GET", "CompositeInstanceRetrieveWithoutBulkDataGet", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.201.6", "Repository Query", "RepositoryQuery", "Query/Retrieve"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.34.8", "RT Conventional Machine Verification", "RTConventionalMachineVerification", "RT Machine Verification"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.34.9", "RT Ion Machine Verification", "RTIonMachineVerification", "RT Machine Verification"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.37.1", "General Relevant Patient Information Query", "GeneralRelevantPatientInformationQuery", "Relevant Patient Information Query"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.37.2", "Breast Imaging Relevant Patient Information Query", "BreastImagingRelevantPatientInformationQuery", "Relevant Patient Information Query"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.37.3", "Cardiac Relevant Patient Information Query", "CardiacRelevantPatientInformationQuery", "Relevant Patient Information Query"),  # noqa: E501
    SopClass("1.2.840.10008.1.20.1", "Storage Commitment Push Model SOP Class", "StorageCommitmentPushModel", "Storage Commitment"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.1.1.201.5", "Inventory Creation", "InventoryCreation", "Storage Management"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.41", "Product Characteristics Query SOP Class", "ProductCharacteristicsQuery", "Substance Administration Query"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.42", "Substance Approval Query SOP Class", "SubstanceApprovalQuery", "Substance Administration Query"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.34.6.1", "Unified Procedure Step - Push SOP Class", "UnifiedProcedureStepPush", "Unified Procedure Step"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.34.6.2", "Unified Procedure Step - Watch SOP Class", "UnifiedProcedureStepWatch", "Unified Procedure Step"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.34.6.3", "Unified Procedure Step - Pull SOP Class", "UnifiedProcedureStepPull", "Unified Procedure Step"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.34.6.4", "Unified Procedure Step - Event SOP Class", "UnifiedProcedureStepEvent", "Unified Procedure Step"),  # noqa: E501
    SopClass("1.2.840.10008.5.1.4.34.6.5", "Unified Procedure Step - Query SOP Class", "UnifiedProcedureStepQuery", "Unified Procedure Step"),  # noqa: E501
)
# fmt: on

_BY_UID: Mapping[str, SopClass] = {sop_class.uid: sop_class for sop_class in SOP_CLASSES}


def find(uid: str) -> SopClass | None:
    """Return the row for a UID, None for one that pynetdicom does not know (private ones)."""
    return _BY_UID.get(uid)


def name_of(uid: str) -> str:
    """Return the standard's name, or the UID itself where there is none."""
    sop_class = find(uid)
    return sop_class.name if sop_class else uid


def is_storage(uid: str) -> bool:
    """Tell whether instances of this SOP class travel by C-STORE."""
    sop_class = find(uid)
    return sop_class is not None and sop_class.service in _STORAGE_SERVICES


def uid_named(text: str) -> str:
    """Return the UID for a name or keyword of the standard; whatever else stays as it is."""
    return _BY_NAME.get(" ".join(text.split()).casefold(), text)


_BY_NAME: Mapping[str, str] = {
    name.casefold(): sop_class.uid
    for sop_class in reversed(SOP_CLASSES)
    for name in (sop_class.keyword, sop_class.name)
}
