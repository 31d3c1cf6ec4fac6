"""Skeletal formulas as SVG, drawn by RDKit."""

import re
from typing import Any

from markupsafe import Markup

# RDKit's colours of carbon, oxygen, nitrogen and fluorine, and what the page has in their place
COLOURS = {
    "#000000": "currentColor", "#FF0000": "var(--oxygen)", "#0000FF": "var(--nitrogen)",
    "#33CCCC": "var(--fluorine)", "#4284F4": "var(--nitrogen)",
}  # fmt: skip


def skeletal_formula(smiles: str, name: str, width: int = 180, height: int = 130) -> Markup | None:
    """Return the drawing of a molecule, None if `smiles` is not a SMILES.

    `name` is its text for those who cannot see it.
    """
    from rdkit import Chem
    from rdkit.Chem.Draw.rdMolDraw2D import MolDraw2DSVG
    from rdkit.rdBase import BlockLogs

    if not smiles:
        return None
    with BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        return None
    drawer = MolDraw2DSVG(width, height)
    options: Any = drawer.drawOptions()
    options.clearBackground = False
    options.padding = 0.06
    options.bondLineWidth = 1.4
    options.fixedBondLength = 24
    drawer.DrawMolecule(molecule)
    drawer.FinishDrawing()
    text = drawer.GetDrawingText()
    text = re.sub(r"<\?xml.*?\?>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*(xmlns:\w+|xml:space|version|baseProfile|class)=(['\"]).*?\2", "", text)
    text = re.sub(r"(?<=\d\.\d)\d+", "", text)
    for theirs, ours in COLOURS.items():
        text = text.replace(theirs, ours)
    label = Markup('<svg role="img" aria-label="{}"').format(name)
    return Markup(text.replace("<svg", label, 1).strip())
