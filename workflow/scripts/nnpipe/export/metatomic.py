"""A potential as one file for all programs that read metatomic models.

ASE, i-PI, torch-sim, and LAMMPS, GROMACS and eOn where they are built with metatomic, read the
file. https://docs.metatensor.org/metatomic
"""

# ruff: noqa: UP006, UP035, UP045  # metatomic accepts annotations of `typing` only

from pathlib import Path
from typing import Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)
from torch import Tensor, nn

from .. import __version__
from ..graphs.batch import NO_NEIGHBOUR_DISTANCE
from ..models.potential import Potential
from ..simulation.calculator import load_calculator
from .folder import copy_template
from .torchscript import message_passes, trace


def export(model: str | Path, folder: Path) -> list[Path]:
    """Write model.pt and an example; return the paths.

    Raises InputError if the model is missing or damaged, or cannot be written as TorchScript.
    """
    calculator = load_calculator(model, device="cpu")
    found = atomistic_model(calculator.potential, Path(model).name)
    found.save(folder / "model.pt")
    return [folder / "model.pt", copy_template("metatomic_example.py", folder / "example.py")]


class MetatomicModel(nn.Module):
    """Energies (eV) of systems or of their atoms, and the expected absolute errors (eV).

    `network` is a script of AtomEnergies with weights in `dtype`; cutoff: Å.
    """

    def __init__(self, network: nn.Module, cutoff: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.cutoff, self.network_dtype = network, cutoff, dtype
        self.no_neighbour = NO_NEIGHBOUR_DISTANCE

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        """Return the neighbour list that metatomic must add to each system."""
        return [NeighborListOptions(cutoff=self.cutoff, full_list=True, strict=True)]

    def slots(self, pairs: Tensor, vectors: Tensor, atoms: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return vectors (N, K, 3) Å, neighbours (N, K) and their mask, nearest first.

        Takes the two atoms (P, 2) int64 and the vector (P, 3) Å of each pair.
        """
        order = torch.argsort(vectors.detach().square().sum(1), stable=True)
        order = order[torch.argsort(pairs[order, 0], stable=True)]
        centre, vectors = pairs[order, 0], vectors[order]
        counts = torch.bincount(centre, minlength=atoms)
        start = torch.cumsum(counts, 0) - counts
        slot = torch.arange(len(centre), device=centre.device) - start[centre]
        width = max(1, int(counts.max()))
        place = centre * width + slot
        neighbours = torch.arange(atoms, device=centre.device).repeat_interleave(width)
        neighbours[place] = pairs[order, 1]
        mask = torch.zeros_like(neighbours, dtype=torch.bool)
        mask[place] = True
        empty = torch.zeros(atoms * width, 3, dtype=vectors.dtype, device=vectors.device)
        empty[:, 0] = self.no_neighbour
        filled = empty.index_copy(0, place, vectors).view(atoms, width, 3)
        return filled, neighbours.view(atoms, width), mask.view(atoms, width)

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        """Return the outputs; see metatomic.torch.ModelInterface."""
        results: Dict[str, TensorMap] = {}
        pairs: List[Tensor] = []
        vectors: List[Tensor] = []
        elements: List[Tensor] = []
        rows: List[Tensor] = []
        atoms = 0
        for number, system in enumerate(systems):
            block = system.get_neighbor_list(self.requested_neighbor_lists()[0])
            pairs.append(block.samples.values[:, :2].to(torch.int64) + atoms)
            vectors.append(block.values[:, :, 0])
            elements.append(system.types)
            here = torch.arange(len(system), device=system.positions.device)
            rows.append(torch.stack([torch.full_like(here, number), here], 1))
            atoms += len(system)
        if len(outputs) == 0 or atoms == 0:
            return results
        slots = self.slots(torch.cat(pairs), torch.cat(vectors).to(self.network_dtype), atoms)
        z = torch.cat(elements).to(torch.int64)
        energy, uncertainty = self.network(z, slots[0], slots[1], slots[2])
        samples = torch.cat(rows)
        if selected_atoms is not None:
            chosen = Labels(["system", "atom"], samples.to(torch.int32))
            keep = chosen.select(selected_atoms)
            samples, energy, uncertainty = samples[keep], energy[keep], uncertainty[keep]
        zero = torch.zeros(1, 1, dtype=torch.int32, device=z.device)
        for name, output in outputs.items():
            values = energy if name == "energy" else uncertainty.square()
            if output.sample_kind == "atom":
                labels = Labels(["system", "atom"], samples.to(torch.int32))
            else:
                total = torch.zeros(len(systems), dtype=values.dtype, device=values.device)
                values = total.index_add(0, samples[:, 0], values)
                numbers = torch.arange(len(systems), device=values.device).to(torch.int32)
                labels = Labels(["system"], numbers[:, None])
            if name == "energy_uncertainty":
                values = values.sqrt()
            block = TensorBlock(
                values=values[:, None],
                samples=labels,
                components=torch.jit.annotate(List[Labels], []),
                properties=Labels(
                    ["energy"], torch.zeros(1, 1, dtype=torch.int32, device=z.device)
                ),
            )
            results[name] = TensorMap(Labels(["_"], zero), [block])
        return results


def atomistic_model(potential: Potential, name: str = "nnpipe") -> AtomisticModel:
    """Return a potential as metatomic's model.

    Inputs and outputs are in double precision, the network has the precision of its weights.
    Raises InputError for a potential that cannot be written as TorchScript.
    """
    dtype = next(potential.model.parameters()).dtype
    module = MetatomicModel(trace(potential), potential.cutoff, dtype).eval()
    outputs = {"energy": ModelOutput(unit="eV", sample_kind="atom")}
    if potential.uncertainty is not None:
        outputs["energy_uncertainty"] = ModelOutput(
            unit="eV", sample_kind="atom", description="expected absolute error of the energy"
        )
    capabilities = ModelCapabilities(
        outputs=outputs,
        atomic_types=potential.references.nonzero()[:, 0].tolist(),
        interaction_range=potential.cutoff * message_passes(potential),
        length_unit="angstrom",
        supported_devices=["cuda", "cpu"],
        dtype="float64",
    )
    metadata = ModelMetadata(
        name=name,
        description=f"nnpipe {__version__}: {type(potential.model).__name__}, trained on QM9",
        references={"model": ["https://doi.org/10.1038/sdata.2014.22"]},
    )
    return AtomisticModel(module, metadata, capabilities)
