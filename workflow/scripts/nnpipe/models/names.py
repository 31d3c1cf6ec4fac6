"""Names of models as people write them, for figures and tables that people read."""

NAMES = {
    "gnn": "AtomGNN", "gnn_u0": "AtomGNN U0", "mlp": "AtomMLP", "schnet": "SchNet",
    "labels": "Labels", "teacher": "Teacher",
}  # fmt: skip


def readable_name(model: str) -> str:
    """Return the name of a model of `config.yaml` or of a method as people write it.

    Another name is returned as it is, and so is what follows a comma.
    """
    name, comma, rest = model.partition(", ")
    return NAMES.get(name, name) + comma + rest
