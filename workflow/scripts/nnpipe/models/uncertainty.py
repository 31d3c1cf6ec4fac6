"""Expected errors of energies and forces, from the features that a model's last layer receives.

The last layer of a model turns the features x_i (F,) of atom i into its energy. They also show how
unusual the atom is: by the Mahalanobis distance from the training atoms of its element z, with one
covariance for all elements (https://arxiv.org/abs/1807.03888),

    d_i^2 = (x_i - m_z)^T C^-1 (x_i - m_z) / F

The expected absolute error of a force component of the atom, u_i, and of the energy, u, are

    u_i = exp(a_z + b . s_i + c log d_i^2)                     eV/Å
    u   = (sum_i exp(a'_z + b' . s_i + c' log d_i^2))^1/2      eV

with the standardised and limited features s_i. The constants a, b and c maximise the likelihood of
the errors on held-out molecules, under Laplace distributions of these widths. The fit takes
seconds, the evaluation one product of N x F with F x F.

Features cannot show what the training never had to distinguish. Therefore a table holds the
distances at which each pair of elements occurs in the training data. Where an atom has a neighbour
at another distance (H-H at 0.74 Å), u_i is at least the mean force component of the held-out
molecules, as nothing is known.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from ..data import store
from ..data.splits import read_split
from ..graphs.batch import Batch
from ..graphs.dataset import Dataset, load_dataset, load_labels
from .potential import MAX_Z, SURFACE, Potential, energy_forces
from .predict import batches_by_size

MAX_TRAINING, MAX_HELD_OUT = 5_000, 10_000  # geometries for features and errors, evenly chosen
MAX_PAIR_TRAINING = 100_000  # geometries for the table of pairs
COVARIANCE_RIDGE = 1e-3  # of the mean variance of a feature
FEATURE_LIMIT = 4.0  # standard deviations: no extrapolation far beyond the held-out molecules
PRIOR_PRECISION = 50.0  # of the constants, which have normal priors
MAX_ITERATIONS = 200
BIN_A, BINS = 0.05, 61  # of distances up to 3 Å: at longer ones, every pair counts as seen
# pairs of training atoms that count: with forces below this (eV/Å), more than this number, twice
# per pair; with any forces, more than this fraction of the atoms of the rarer element
CALM_FORCE, ACCIDENTAL_PAIRS, RARE_FRACTION = 3.0, 2, 1e-3
LIMIT_QUANTILE = 0.99  # of held-out geometries that are inside the training domain


class Uncertainty(nn.Module):
    """The constants of the equations in the module's docstring.

    `features` is F, `elements` are the atomic numbers of the training data. `typical` is the mean
    of the u_i (eV/Å) on held-out molecules. A system is outside the training domain if the mean or
    the largest u_i of its atoms exceeds `limits` (2,) eV/Å.
    """

    slots: Tensor
    means: Tensor
    whitening: Tensor
    centre: Tensor
    width: Tensor
    weights: Tensor
    offsets: Tensor
    exponents: Tensor
    seen: Tensor
    unseen_error: Tensor
    typical: Tensor
    limits: Tensor

    def __init__(self, features: int, elements: Sequence[int]) -> None:
        super().__init__()
        count = len(elements)
        slots = torch.zeros(MAX_Z + 1, dtype=torch.int64)
        slots[list(elements)] = torch.arange(count)
        self.register_buffer("slots", slots, persistent=False)
        shapes = {
            "means": (count, features),  # m_z
            "whitening": (features, features),  # W with W^T W = C^-1 / F
            "centre": (features,),
            "width": (features,),
            "weights": (2, features),  # b of the forces, b' of the energy
            "offsets": (2, count),  # a, a'
            "exponents": (2,),  # c, c'
            "seen": (count, count, BINS),  # 1 where the training data have such a pair
            "unseen_error": (),  # eV/Å
            "typical": (),
            "limits": (2,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def inputs(self, features: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return s (N, F) and log d^2 (N,) of features (N, F) of atoms z (N,)."""
        features = features.double()
        distance = ((features - self.means[self.slots[z]]) @ self.whitening.t()).square().sum(1)
        standard = (features - self.centre) / self.width
        return standard.clamp(-FEATURE_LIMIT, FEATURE_LIMIT), (distance + 1e-9).log()

    def of_atoms(self, features: Tensor, z: Tensor) -> Tensor:
        """Return for each atom (N, 2), without regard to pairs, u_i (eV/Å) and its part of u^2
        (eV^2); features (N, F), z (N,).
        """
        standard, log_d2 = self.inputs(features, z)
        logarithm = standard @ self.weights.t() + self.offsets.t()[self.slots[z]]
        return (logarithm + log_d2[:, None] * self.exponents).exp()

    def unseen(self, batch: Batch) -> Tensor:
        """Return (N, K) bool, True where the training data have no such pair at this distance."""
        slots = self.slots[batch.z]
        return self.seen[slots[:, None], slots[batch.neighbours], pair_bins(batch)] == 0

    def forward(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the uncertainties u of the energies (B,) eV and u_i of the forces (N,) eV/Å."""
        force, energy = self.of_atoms(features, batch.z).unbind(1)
        least = self.unseen(batch).any(1) * self.unseen_error
        energy = torch.maximum(energy, least.square())  # an error of this force over 1 Å
        return batch.sum_over_atoms(energy).sqrt(), torch.maximum(force, least)

    def outside(self, forces_uncertainty: Tensor) -> bool:
        """Return whether a system with these u_i (N,) eV/Å is outside the training domain."""
        found = torch.stack([forces_uncertainty.mean(), forces_uncertainty.amax()])
        return not bool((found <= self.limits.to(found)).all())  # nan is outside

    def describe(self, forces_uncertainty: Tensor, batches: Sequence[Batch] = ()) -> str:
        """Return what a user should hear about a system with these u_i (N,) eV/Å."""
        expected, typical = 1000 * forces_uncertainty.mean(), 1000 * self.typical
        names = [name for batch in batches for name in self.pair_names(batch)]
        unseen = ", ".join(dict.fromkeys(names))
        return (
            f"expected error of a force component {expected:.0f} meV/Å, {typical:.0f} on molecules"
            " like the training molecules"
            + (f"; no training molecule has {unseen}" if unseen else "")
        )

    def pair_names(self, batch: Batch) -> list[str]:
        """Return the kinds of unseen pairs of a batch with their distances, "H-H at 0.74 Å"."""
        atoms, slot = self.unseen(batch).nonzero(as_tuple=True)
        lengths = batch.neighbour_vectors().norm(dim=-1)[atoms, slot].tolist()
        pairs = torch.stack([batch.z[atoms], batch.z[batch.neighbours[atoms, slot]]], 1)
        names = ["-".join(chemical_symbols[z] for z in sorted(pair)) for pair in pairs.tolist()]
        shortest = dict(sorted(zip(names, lengths, strict=True), key=lambda one: -one[1]))
        return [f"{name} at {length:.2f} Å" for name, length in shortest.items()]


def pair_bins(batch: Batch) -> Tensor:
    """Return the bin (N, K) of the distance of each neighbour; the last one has all long ones."""
    distance = batch.neighbour_vectors().norm(dim=-1)
    return (distance / BIN_A).long().clamp(max=BINS - 1)


def last_layer(model: nn.Module) -> nn.Linear:
    """Return the last linear layer of a model with one output: the energy of an atom.

    Raises LookupError if there is none.
    """
    found = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 1]
    if not found:
        raise LookupError(f"{type(model).__name__} has no linear layer with one output")
    return found[-1]


@contextmanager
def captured(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the inputs of a layer while the context lasts, without their gradients."""
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    try:
        yield inputs
    finally:
        hook.remove()


def with_uncertainty(
    function: Callable[[Potential, Batch], tuple[Tensor, ...]], potential: Potential, batch: Batch
) -> tuple[Tensor, ...]:
    """Return the results of `function(potential, batch)`, which evaluates the potential once, then
    the uncertainties of the energies (B,) eV and forces (N,) eV/Å, nan for a potential without.
    """
    if potential.uncertainty is None:
        systems = potential.references.new_full((batch.n_systems,), math.nan)
        atoms = torch.full_like(batch.z, math.nan, dtype=torch.float64)
        return *function(potential, batch), systems, atoms
    with captured(last_layer(potential.model)) as features:
        results = function(potential, batch)
    return *results, *potential.uncertainty(features[0], batch)


class Errors(NamedTuple):
    """What a potential makes of M geometries with N atoms, and its errors; on the CPU, float64."""

    features: Tensor  # (N, F), inputs of the last layer
    z: Tensor  # (N,) int64, atomic numbers
    geometry: Tensor  # (N,) int64, geometry of each atom
    energy: Tensor  # (M,) eV, absolute errors
    forces: Tensor  # (N,) eV/Å, mean absolute errors of the components of each atom
    energy_uncertainty: Tensor  # (M,) eV, nan without
    forces_uncertainty: Tensor  # (N,) eV/Å, nan without
    mean_force: Tensor  # () eV/Å, mean absolute component of the true forces


def measure_errors(potential: Potential, data: Dataset) -> Errors:
    """Return the errors of a potential on at most MAX_HELD_OUT geometries of a data set with
    forces.
    """
    batches, count = [], 0
    layer = last_layer(potential.model)
    for rows in batches_by_size(data, number=MAX_HELD_OUT):
        batch, labels = data.collate(rows)
        assert labels is not None
        with captured(layer) as features:
            energy, forces, *expected = with_uncertainty(energy_forces, potential, batch)
        energy_errors = (energy.detach().cpu() - data.target[rows]).abs()
        force_errors = (forces.double() - labels.double()).abs().mean(1)
        owner = batch.system_idx + count
        found = features[0].double(), batch.z, owner, energy_errors, force_errors
        batches.append([part.cpu() for part in (*found, *expected, labels.abs())])
        count += len(rows)
    *parts, labels = (torch.cat(found) for found in zip(*batches, strict=True))
    return Errors(*parts, labels.double().mean())  # type: ignore[call-arg]


def fit_uncertainty(potential: Potential, training: Dataset, held_out: Errors) -> Uncertainty:
    """Return the uncertainty of a trained potential, fitted to its errors on held-out molecules.

    `training` lies on the potential's device.
    """
    features, z = _features(potential, training)
    elements = training.atomic_numbers().unique().cpu().long()
    fitted = Uncertainty(features.shape[1], elements.tolist())
    for slot, element in enumerate(elements):
        fitted.means[slot] = features[z == element].mean(0).nan_to_num()
    covariance = (features - fitted.means[fitted.slots[z]]).t().cov()
    covariance += COVARIANCE_RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    fitted.whitening.copy_(torch.linalg.inv(torch.linalg.cholesky(covariance * len(covariance))))
    fitted.centre.copy_(features.mean(0))
    fitted.width.copy_(features.std(0) + 1e-6)

    standard, log_d2 = fitted.inputs(held_out.features, held_out.z)
    one_hot = held_out.z[:, None] == elements
    inputs = torch.cat([standard, one_hot, log_d2[:, None]], 1)

    def of_geometries(logarithm: Tensor) -> Tensor:
        sums = torch.zeros_like(held_out.energy)
        return sums.index_add(0, held_out.geometry, logarithm.exp()).log() / 2

    kinds = (held_out.forces, lambda logarithm: logarithm), (held_out.energy, of_geometries)
    for kind, (observed, log_width) in enumerate(kinds):
        weights, offset = _laplace_fit(inputs, observed, log_width, exponent=0.5 * (kind + 1))
        fitted.weights[kind], rest = weights[: len(covariance)], weights[len(covariance) :]
        fitted.offsets[kind], fitted.exponents[kind] = offset + rest[:-1], rest[-1]
    fitted.seen.copy_(_seen_pairs(training, fitted.slots, len(elements)))
    fitted.unseen_error.copy_(held_out.mean_force)
    expected = fitted.of_atoms(held_out.features, held_out.z)[:, 0]
    fitted.typical.copy_(expected.mean())
    for place, over_atoms in enumerate(("mean", "amax")):
        of_geometry = torch.zeros_like(held_out.energy).scatter_reduce(
            0, held_out.geometry, expected, over_atoms, include_self=False
        )
        fitted.limits[place] = of_geometry.quantile(LIMIT_QUANTILE)
    return fitted


def held_out_geometries(
    half: int,
    cutoff: float,
    molecules: str | Path,
    neighbours: str | Path,
    split: str | Path,
    labels: str | Path | None,
) -> Dataset | None:
    """Return labelled geometries of one half of the validation molecules: 0, to which an
    uncertainty is fitted, or 1, which checks it. Return None for data without forces.
    """
    table, header = store.read(molecules, "molecules")
    rows = read_split(split, table["index"])["validation"][half::2]
    if labels:
        return load_labels(labels, table["index"][rows], cutoff, header["digest"], training=False)
    if "forces" in table:
        return load_dataset(molecules, neighbours, rows, SURFACE, cutoff)
    return None


def _features(potential: Potential, data: Dataset) -> tuple[Tensor, Tensor]:
    """Return the features (N, F), float64, and atomic numbers (N,) of a data set, on the CPU."""
    found = []
    for rows in batches_by_size(data, number=MAX_TRAINING):
        batch = data.batch(rows)
        with torch.no_grad(), captured(last_layer(potential.model)) as features:
            potential(batch)
        found.append((features[0].double().cpu(), batch.z.cpu()))
    return torch.cat([x for x, _ in found]), torch.cat([z for _, z in found])


def _seen_pairs(data: Dataset, slots: Tensor, elements: int) -> Tensor:
    """Return the table (elements, elements, BINS): 1 where a data set has such pairs in the bin or
    beside it, more than by accident, and in the last bin.

    Distortions bring atoms together by accident, under strong forces. Such pairs count only if they
    are not rare.
    """
    counts = torch.zeros(2, elements * elements * BINS, dtype=torch.float64)
    atoms = torch.zeros(elements, dtype=torch.float64)
    for rows in batches_by_size(data, number=MAX_PAIR_TRAINING):
        batch, forces = data.collate(rows)
        assert forces is not None
        calm, neighbours = (forces.norm(dim=1) < CALM_FORCE).cpu(), batch.neighbours.cpu()
        slot = slots[batch.z.cpu()]
        kinds = (slot[:, None] * elements + slot[neighbours]) * BINS + pair_bins(batch).cpu()
        atoms += slot.bincount(minlength=elements)
        for place, chosen in enumerate((kinds, kinds[calm[:, None] & calm[neighbours]])):
            counts[place] += chosen.flatten().bincount(minlength=counts.shape[1])
    found = counts.view(2 * elements, elements, BINS)
    around = 3 * nn.functional.avg_pool1d(found, 3, stride=1, padding=1)
    every, calm_pairs = around.view(2, elements, elements, BINS)
    rarer = torch.minimum(atoms[:, None], atoms)[..., None]
    seen = ((every > RARE_FRACTION * rarer) | (calm_pairs > ACCIDENTAL_PAIRS + 0.5)).double()
    seen[:, :, -1] = 1
    return seen


def _laplace_fit(
    inputs: Tensor, observed: Tensor, log_width: Callable[[Tensor], Tensor], exponent: float
) -> tuple[Tensor, Tensor]:
    """Return the weights (K,) of `inputs` (N, K) and the offset () with which
    `log_width(inputs @ weights + offset)` (M,) maximises the likelihood of absolute errors (M,).

    The errors follow Laplace distributions. The weights have a normal prior of mean 0, but for the
    last one, whose mean is `exponent`.
    """
    prior = torch.zeros(inputs.shape[1], dtype=torch.float64)
    prior[-1] = exponent
    weights, offset = prior.clone().requires_grad_(), torch.zeros_like(prior[0]).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights, offset], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        width = log_width(inputs @ weights + offset)
        value = (observed * (-width).exp() + width).mean()
        value = value + PRIOR_PRECISION / len(observed) * (weights - prior).square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    return weights.detach(), offset.detach()
