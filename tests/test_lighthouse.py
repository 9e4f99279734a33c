"""Lighthouse lets every page pass: those of the day in `make test`, the others at night."""

import json
import subprocess

import pytest
from conftest import BROWSER, LOOKED_AT, TOOLS

pytestmark = LOOKED_AT

GATES = {"accessibility": 100, "best-practices": 95}


@pytest.fixture(scope="module")
def verdicts(origin, names):
    """What Lighthouse says about each page."""
    asked = {
        "chrome": BROWSER,
        "addresses": [f"{origin}/{name}" for name in names],
        # It waits for the page to be quiet anyway; nobody times it here.
        "settings": {"onlyCategories": [*GATES], "pauseAfterFcpMs": 0, "pauseAfterLoadMs": 0},
    }
    done = subprocess.run(
        ["node", TOOLS / "lighthouse.mjs"], input=json.dumps(asked), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {verdict["address"].removeprefix(f"{origin}/"): verdict for verdict in found}


@pytest.mark.parametrize("category", GATES)
def test_lighthouse_lets_every_page_pass(verdicts, names, category):
    assert [*verdicts] == names
    refused = [
        f"{page}: {category} {verdict['scores'][category]}, at least {GATES[category]} is wanted"
        + "".join(
            f"\n    {audit['id']}: {audit['title']}"
            + "".join(f"\n        {place}" for place in audit["where"])
            for audit in verdict["failed"]
            if audit["category"] == category
        )
        for page, verdict in verdicts.items()
        if verdict["scores"][category] < GATES[category]
    ]
    assert not refused, "\n".join(["Lighthouse refuses pages", *refused])
