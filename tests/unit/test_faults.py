"""What the machine has done wrong is told from what is wrong with a calculation."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.testing import TestingEngine
from qdip_dft.errors import EngineError, MachineError, ScratchError
from qdip_dft.model.calculation import CalculationTask, EngineResult, Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.runtime.faults import explain_machine_fault
from qdip_dft.tasks.calculation import calculate_task
from tests.unit.crystals import load


def engine_error(said: str) -> EngineError:
    return EngineError(said, limit="the code must end in order", why="there is no energy", remedy="read its output")


def wrapped(cause: BaseException) -> EngineError:
    error = engine_error("the code failed")
    error.__cause__ = cause
    return error


FAULTS = [
    MemoryError(),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 139 GiB total)"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
    RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("NCCL error in: unhandled system error"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError(errno.ESTALE, "Stale file handle"),
    OSError(errno.EMFILE, "Too many open files"),
    engine_error("exit code -9: "),
    engine_error("exit code 137: process rank 3 exited on signal 9 (Killed)"),
    wrapped(MemoryError()),
    wrapped(wrapped(RuntimeError("HIP error: invalid device"))),
]
FACTS = [
    engine_error("exit code 1: convergence NOT achieved"),
    engine_error("exit code -11: segmentation fault"),
    ValueError("the matrix is singular"),
    RuntimeError("size mismatch, m1: [3 x 4]"),
    FileNotFoundError(errno.ENOENT, "No such file", "POTCAR"),
    ZeroDivisionError(),
]


@pytest.mark.parametrize("error", FAULTS, ids=str)
def test_a_fault_of_the_machine_is_known_by_its_class_its_number_or_its_words(error: Exception) -> None:
    fault = explain_machine_fault(error)
    assert isinstance(fault, MachineError)
    assert "run the same" in fault.remedy


@pytest.mark.parametrize("error", FACTS, ids=str)
def test_what_a_code_says_about_its_input_is_no_fault_of_the_machine(error: Exception) -> None:
    assert explain_machine_fault(error) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_file(number: int) -> None:
    fault = explain_machine_fault(OSError(number, "full", "WAVECAR"))
    assert isinstance(fault, ScratchError)
    assert "WAVECAR" in fault.what


@dataclass(frozen=True)
class BrokenEngine(TestingEngine):
    """The testing engine on a machine that fails."""

    __test__ = False

    error: ClassVar[Exception] = MemoryError()

    def static(self, _: StructureRecord) -> EngineResult:
        """Fail."""
        raise self.error

    def relax(self, *_: Any, **__: Any) -> EngineResult:
        """Fail."""
        raise self.error


def calculate(error: Exception, freedom: Freedom, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(BrokenEngine, "error", error)
    task = CalculationTask(label="bulk PbS", freedom=freedom, structure=load("PbS").structure)
    engine = BrokenEngine(relaxation=engine_from_spec(EngineSpec(name="testing")).relaxation)
    return calculate_task(task.model_dump(mode="json"), engine, "key", 0)


@pytest.mark.parametrize("freedom", [Freedom.NONE, Freedom.CELL])
@pytest.mark.parametrize("error", FAULTS[:2] + FAULTS[-3:], ids=str)
def test_no_fault_of_the_machine_becomes_a_record(
    error: Exception, freedom: Freedom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachineError, match="run the same"):
        calculate(error, freedom, monkeypatch)


@pytest.mark.parametrize("error", FACTS[:3], ids=str)
def test_a_failure_of_the_code_is_a_record(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(error) in calculate(error, Freedom.NONE, monkeypatch)["failure"]
