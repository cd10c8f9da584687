"""Versions of the packages that a result depends on."""

from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("torch", "torchaudio", "transformers", "speechbrain", "numba", "mamba-ssm")


def package_versions() -> dict[str, str | None]:
    """Look them up without importing them; None where one is not installed."""
    return {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
