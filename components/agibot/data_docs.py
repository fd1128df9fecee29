"""Great Expectations' Data Docs as one page that lies beside a dataset: its own rendering, without its network.

The page that comes with it fetches styles, scripts and pictures from five hosts, and tells when it was made. So its
sections are put into a page of ours (`templates/data_docs.html.j2`), which holds all that it shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def render(result: Any) -> str:
    """The page of a validation's result: HTML that is the same for the same result and refers to nothing outside."""
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    for one in result.results:
        observed = one.result.get("observed_value")
        if isinstance(observed, np.floating):  # which its renderer can't show
            one.result["observed_value"] = float(observed)
    document = ValidationResultsPageRenderer().render(result).to_json_dict()
    overview, *sections = document["sections"]
    overview["content_blocks"] = [b for b in overview["content_blocks"] if b["content_block_type"] == "table"]
    view = DefaultJinjaPageView(custom_views_directory=str(Path(__file__).parent / "templates"))
    page = view.env.get_template("data_docs.html.j2")
    return page.render(document | {"sections": [overview, *sections], "passed": bool(result.success)})
