"""Synthetic documents whose every free text tries to break out of the page that shows it."""

from __future__ import annotations

from qdip_dft.model.interface import DroppedCandidate, InterfaceLabel
from qdip_dft.model.stabilization import CandidateResult, Check, StabilizationDoc
from qdip_dft.model.study import PhaseRole
from tests.unit.report_documents import make_black, make_document, make_result, make_yellow

ATTACK = (
    "</title></style></script><script>window.hacked = 1</script><img src=x onerror=window.hacked=2>"
    "<svg onload=window.hacked=3>\"'--><iframe src=javascript:window.hacked=4>{{ 7 * 7 }}$\\frac{"
)


def make_hostile() -> StabilizationDoc:
    """Return a document with the attack in question, host, labels, findings, reasons, versions and settings."""
    doc = make_document(
        _poison(make_black()),
        _poison(make_result(phase="FAPbI3-gamma", plane="001", is_selected=False)),
        _poison(make_yellow()),
        sentence=ATTACK,
        dropped=(DroppedCandidate(title=_title(), phase=ATTACK, reason=ATTACK),),
    )
    assert doc.theory is not None
    theory = doc.theory.model_copy(
        update={"code": ATTACK, "code_version": ATTACK, "weights_hash": ATTACK, "settings": {ATTACK: ATTACK}}
    )
    dot = doc.study.dot.model_copy(update={"material": ATTACK})
    phases = tuple(phase.model_copy(update={"termination": ATTACK}) for phase in doc.study.phases)
    study = doc.study.model_copy(update={"question": ATTACK, "host": ATTACK, "dot": dot, "phases": phases})
    return doc.model_copy(
        update={"study": study, "theory": theory, "versions": {"qdip_dft": ATTACK, ATTACK: ATTACK}, "id": "hostile"}
    )


def _title(registry: str = "") -> InterfaceLabel:
    return InterfaceLabel(dot=ATTACK, dot_plane="111", film=ATTACK, film_plane="001", registry=registry)


def _poison(result: CandidateResult) -> CandidateResult:
    role = result.candidate.role
    title = _title(registry=role.value if role is PhaseRole.BLACK else "")
    candidate = result.candidate.model_copy(update={"title": title, "label": str(title), "termination": ATTACK})
    check = Check(name=ATTACK, is_passed=False, is_decisive=False, finding=ATTACK)
    return result.model_copy(update={"candidate": candidate, "checks": (check,), "calculations": {ATTACK: ATTACK}})
