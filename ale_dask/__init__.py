"""Activation likelihood estimation (ALE) meta-analysis as distributed batch computation on Dask.

    import ale_dask as ale
    a = ale.main_effect(ale.read_foci("drug.txt"), seed=1)
    b = ale.main_effect(ale.read_foci("therapy.txt"), seed=1)
    c = ale.contrast(a, b)
    d = ale.conjunction([a, b])
    ale.write_report([a, b, c, d], "out/")

The names are listed in `__init__.pyi`. Each is loaded when first used: importing this package imports nothing else.
"""

from functools import cache
from importlib import import_module


@cache
def _modules() -> dict[str, str]:
    """Return the module of every exported name, from the imports in `__init__.pyi`."""
    import ast
    from pkgutil import get_data

    stub = ast.parse(get_data(__name__, "__init__.pyi") or b"")
    return {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def __getattr__(name: str) -> object:
    if name == "__all__":
        return sorted(_modules())
    if name not in _modules():
        raise AttributeError(f"module 'ale_dask' has no attribute '{name}'")
    return getattr(import_module(_modules()[name]), name)


def __dir__() -> list[str]:
    return sorted(_modules())
