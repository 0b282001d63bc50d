"""Results as hospital information systems read them: HL7 version 2 ORU^R01 and a FHIR R4 transaction."""

from segloop.report.messages.checking import verify_bundle, verify_oru
from segloop.report.messages.fhir import fhir_bundle
from segloop.report.messages.oru import control_id, oru_r01
from segloop.report.messages.subject import Order, ResultStatus

__all__ = ["Order", "ResultStatus", "control_id", "fhir_bundle", "oru_r01", "verify_bundle", "verify_oru"]
