"""CompiledFunction: compilation, comparison with the eager function, fallback."""

import re

import numpy as np
import pytest
import torch
from ase.build import molecule

from nnpipe.graphs.batch import Batch, batch_from_pairs
from nnpipe.graphs.compile import CompiledFunction
from nnpipe.structures.neighbours import neighbours


def squares(batch: Batch) -> tuple[torch.Tensor]:
    return (batch.pos.square().sum(1),)


@pytest.fixture
def water() -> Batch:
    atoms = molecule("H2O")
    return batch_from_pairs(atoms.numbers, atoms.positions, *neighbours(atoms.positions, 5.0))


@pytest.fixture
def fake_program(monkeypatch):
    """Return a function that sets what `_compile` returns or raises; it counts the compilations."""

    def install(program) -> list:
        compilations = []

        def compile_(self, names, tensors):
            compilations.append(names)
            if isinstance(program, Exception):
                raise program
            return program

        monkeypatch.setattr(CompiledFunction, "_compile", compile_)
        return compilations

    return install


def position_squares(z, pos, *more):
    """The right program for `squares`: tensors of a batch in the order of its fields."""
    return (pos.square().sum(1),)


def test_compiled_function_compares_once_per_program(water, fake_program):
    compilations, eager_calls = fake_program(position_squares), []

    def counted(batch: Batch) -> tuple[torch.Tensor]:
        eager_calls.append(batch)
        return squares(batch)

    function = CompiledFunction(counted)
    for _ in range(3):
        torch.testing.assert_close(function(water), squares(water))
    assert len(compilations) == len(eager_calls) == len(function.programs) == 1
    assert function.compiled_ok


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_function_that_differs_falls_back_with_a_warning(
    water, fake_program, caplog, dtype
):
    batch = water.to(torch.device("cpu"), dtype)
    error = {torch.float32: 0.01, torch.float64: 1e-6}[dtype]
    fake_program(lambda z, pos, *more: (squares(batch)[0] + error,))
    function = CompiledFunction(squares)
    torch.testing.assert_close(function(batch), squares(batch), rtol=0, atol=0)
    assert not function.compiled_ok
    assert "continuing without compilation: compiled and eager results differ: " in caplog.text
    found = re.search(r"Greatest absolute difference: (\S+)", caplog.text)
    assert float(found[1]) == pytest.approx(error, rel=1e-2)
    torch.testing.assert_close(function(batch), squares(batch), rtol=0, atol=0)


def test_compiled_function_returns_the_results_of_the_program(water, fake_program):
    """Within the tolerance too, so that the first call gives the same bits as all others."""
    fake_program(lambda z, pos, *more: (position_squares(z, pos)[0] + 1e-9,))
    function = CompiledFunction(squares)
    (first,), (second,) = function(water), function(water)
    assert function.compiled_ok
    assert torch.equal(first, second)
    assert not torch.equal(first, squares(water)[0])


def test_compiled_function_accepts_nan_where_the_eager_function_has_it(water, fake_program):
    fake_program(position_squares)
    function = CompiledFunction(squares)
    function(water.with_positions(water.pos * torch.tensor([[np.nan], [1.0], [1.0]])))
    assert function.compiled_ok


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("error", [RuntimeError("broken"), torch.OutOfMemoryError("full")])
def test_compiled_function_raises_the_errors_of_a_call(water, fake_program, error, call):
    calls = []

    def program(z, pos, *more):
        calls.append(pos)
        if len(calls) == call:
            raise error
        return position_squares(z, pos)

    fake_program(program)
    function = CompiledFunction(squares)
    with pytest.raises(type(error), match=str(error)):
        for _ in range(call):
            function(water)
    assert function.compiled_ok
    torch.testing.assert_close(function(water), squares(water))


def test_compiled_function_falls_back_where_compilation_fails(water, fake_program, caplog):
    compilations = fake_program(RuntimeError("no such compiler\nsee above\nand a long trace"))
    function = CompiledFunction(squares)
    for _ in range(2):
        torch.testing.assert_close(function(water), squares(water), rtol=0, atol=0)
    assert not function.compiled_ok
    assert len(compilations) == 1
    assert "continuing without compilation: no such compiler see above\n" in caplog.text


def test_compiled_function_raises_out_of_memory_of_the_compilation(water, fake_program):
    fake_program(torch.OutOfMemoryError("full"))
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        CompiledFunction(squares)(water)


def test_compiled_function_needs_no_memory_for_the_comparison(water, fake_program, caplog):
    """The eager function may need more memory than the program, which then runs uncompared."""
    fake_program(position_squares)

    def too_large(batch: Batch) -> tuple[torch.Tensor]:
        raise torch.OutOfMemoryError("full")

    function = CompiledFunction(too_large)
    for _ in range(2):
        torch.testing.assert_close(function(water), squares(water))
    assert "not compared" in caplog.text
