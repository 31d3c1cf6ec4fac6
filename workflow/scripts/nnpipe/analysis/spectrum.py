"""Vibrational spectrum of a trajectory."""

import numpy as np

from ..units import SPEED_OF_LIGHT


def vibrational_density(
    velocities: np.ndarray, masses: np.ndarray, frame_fs: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return wavenumbers (K,) cm^-1 and the vibrational density of states (K,) cm, of integral 1.

    velocities (T, N, 3) in any unit, masses (N,) amu, `frame_fs` between frames. The density is
    the power spectrum of the mass-weighted velocities, which is the Fourier transform of their
    autocorrelation (Wiener-Khinchin), with a Hann window. Vibrations faster than half the frame
    rate are aliased.
    """
    weighted = np.sqrt(masses)[:, None] * (velocities - velocities.mean(0))
    windowed = weighted * np.hanning(len(velocities))[:, None, None]
    power = (np.abs(np.fft.rfft(windowed, axis=0)) ** 2).sum((1, 2))
    wavenumber = np.fft.rfftfreq(len(velocities), frame_fs) / SPEED_OF_LIGHT
    return wavenumber, power / np.trapezoid(power, wavenumber)
