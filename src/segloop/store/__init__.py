"""What is kept: received images in the spool, the ledger of studies and jobs, and the key that hides identifiers."""

from segloop.store.files import READABLE, make_folder, write_whole
from segloop.store.keys import Tokens
from segloop.store.ledger import Store, delivery, now
from segloop.store.records import (
    DecisionKind,
    DecisionRecord,
    DecisionState,
    DeliveryRecord,
    DeliveryState,
    HoldingRecord,
    JobRecord,
    JobState,
    Standing,
    StudyRecord,
    StudyState,
)
from segloop.store.spool import Spool, Stored

__all__ = [
    "READABLE",
    "DecisionKind",
    "DecisionRecord",
    "DecisionState",
    "DeliveryRecord",
    "DeliveryState",
    "HoldingRecord",
    "JobRecord",
    "JobState",
    "Spool",
    "Standing",
    "Store",
    "Stored",
    "StudyRecord",
    "StudyState",
    "Tokens",
    "delivery",
    "make_folder",
    "now",
    "write_whole",
]
