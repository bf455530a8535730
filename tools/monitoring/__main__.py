"""Writes manifests/monitoring and the generated parts of the docs. A test fails when they have drifted."""

import argparse

from tools.checks.repository import ROOT
from tools.monitoring.catalogue import DASHBOARDS_URL, RUNBOOKS_URL
from tools.monitoring.files import generated_files


def main() -> None:
    """Write every file that differs from what stands there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runbooks-url", default=RUNBOOKS_URL, help="where the runbooks are published")
    parser.add_argument("--dashboards-url", default=DASHBOARDS_URL, help="where the dashboards are")
    options = parser.parse_args()
    files = generated_files(runbooks_url=options.runbooks_url, dashboards_url=options.dashboards_url)
    for name, text in files.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
