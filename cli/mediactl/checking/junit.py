"""Results of steps as JUnit XML, which CI systems show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from mediactl.checking.smoke import Step

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may have."""


def junit_xml(suite: str, steps: Sequence[Step], *, started_at: str) -> bytes:
    """Return the document of one suite.

    Args:
        suite: Name of the suite.
        steps: Its steps.
        started_at: Time at which it began (RFC 3339).
    """
    counts = {
        "tests": len(steps),
        "failures": sum(step.result == "failed" for step in steps),
        "errors": 0,
        "skipped": sum(step.result == "skipped" for step in steps),
        "time": f"{sum(step.seconds for step in steps):.3f}",
    }
    totals = {name: str(value) for name, value in counts.items()}
    root = ET.Element("testsuites", {"name": suite, **totals})
    # The schema of JUnit has times without a zone; they are in UTC.
    timestamp = started_at.partition(".")[0].removesuffix("Z")
    inner = ET.SubElement(root, "testsuite", {"name": suite, "timestamp": timestamp, **totals})
    for step in steps:
        case = {"classname": suite, "name": step.name, "time": f"{step.seconds:.3f}"}
        element = ET.SubElement(inner, "testcase", case)
        text = _FORBIDDEN.sub("\ufffd", step.detail)
        if step.result == "failed":
            failure = ET.SubElement(element, "failure", {"message": text, "type": "failed"})
            failure.text = _FORBIDDEN.sub("\ufffd", "\n".join(filter(None, (text, step.hint))))
        elif step.result == "skipped":
            ET.SubElement(element, "skipped", {"message": text})
        else:
            ET.SubElement(element, "system-out").text = text
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"
