"""The facts of one deployment, from one TOML file and `SEGLOOP_` variables, read once and then passed on.

A variable overrides the file: `SEGLOOP_DATA_DIR=/srv/segloop`, `SEGLOOP_NODE__PORT=104`,
`SEGLOOP_DESTINATION='[{"name": "pacs", "kind": "folder", "folder": "/srv/out"}]'` (JSON for what is a table or list).
Each key is described in `docs/reference/settings.md`, which a test compares with the fields here.
"""

from segloop.settings.deployment import (
    OTHER_VARIABLES,
    PREFIX,
    Destination,
    Peer,
    Rule,
    Settings,
    When,
    is_loopback,
)
from segloop.settings.sections import (
    AETitle,
    DatabaseSettings,
    ModelSettings,
    NodeSettings,
    OrderSettings,
    Port,
    PriorSettings,
    ReportSettings,
    StudySettings,
    TrainingSettings,
    WebSettings,
)

__all__ = [
    "OTHER_VARIABLES",
    "PREFIX",
    "AETitle",
    "DatabaseSettings",
    "Destination",
    "ModelSettings",
    "NodeSettings",
    "OrderSettings",
    "Peer",
    "Port",
    "PriorSettings",
    "ReportSettings",
    "Rule",
    "Settings",
    "StudySettings",
    "TrainingSettings",
    "WebSettings",
    "When",
    "is_loopback",
]
