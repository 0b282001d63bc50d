"""What is kept: received images in the spool, the ledger of studies and jobs, and the key that hides identifiers."""

from segloop.store.files import READABLE, make_folder, write_whole
from segloop.store.keys import Tokens
from segloop.store.ledger import Store, delivery, now
from segloop.store.records import DeliveryRecord, DeliveryState, JobRecord, JobState, StudyRecord, StudyState
from segloop.store.spool import Spool, Stored

__all__ = [
    "READABLE",
    "DeliveryRecord",
    "DeliveryState",
    "JobRecord",
    "JobState",
    "Spool",
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
