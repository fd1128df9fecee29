"""The intake: examine every episode of a raw drop, quarantine what is bad, publish the rest."""

from __future__ import annotations

from pathlib import Path

from components.agibot.config import IntakeConfig
from components.agibot.contract import check_contract, write_data_docs
from components.agibot.page import intake_page
from components.agibot.publish import publish
from components.agibot.quarantine import keep_contract, nothing_usable, quarantine
from components.agibot.stored import open_adopted
from components.agibot.validate import count_reasons, examine_drop, make_settings, report
from components.store.stage import Workspace
from components.telemetry.progress import progress
from components.telemetry.report import write
from data_contracts.lineage import Metric


def take_in(ws: Workspace, config: IntakeConfig) -> dict[str, Metric]:
    """Build the dataset version in `ws.out` from the input `raw`.

    Raises OrreryError if no episode is usable, or if together they do not keep the dataset's contract; the reports
    of bad ones are in the store by then.
    """
    raw, work = ws.inputs["raw"], ws.scratch / "episodes"
    work.mkdir(exist_ok=True)
    drop = open_adopted(ws.store, raw)
    settings = make_settings(
        config.embodiment, config.cameras, config.calibration, config.repair, config.profile, config.decode
    )
    with progress(len(drop.episodes), "validating", "episodes") as bar:
        examined = examine_drop(drop, settings, work, advance=bar.advance)
    origin = {"prefix": raw.prefix, "fingerprint": raw.fingerprint}
    place = f"{config.name}/{ws.version}"
    quarantine(ws.store, place, examined, drop.episodes, work, origin)
    if not any(e.usable for e in examined):
        raise nothing_usable(raw.prefix, place, examined)
    judgement = check_contract(examined, changes=config.profile.contract)
    page = intake_page(raw.prefix, examined, settings, work, judgement.outcomes)
    keep_contract(ws.store, place, raw.prefix, judgement, page)
    document = report(raw.prefix, examined, settings)
    publish(ws.out, config, Path(work), drop.episodes, examined, document, origin)
    write(page, ws.out / "report.html")
    write_data_docs(ws.out, judgement)
    total = document.summary
    return {
        "episodes": total.accepted + total.repaired, "accepted": total.accepted, "repaired": total.repaired,
        "quarantined": total.quarantined, "frames": total.frames,
        "reasons": ", ".join(f"{code} {n}" for code, n in count_reasons(examined).items()),
    }  # fmt: skip
