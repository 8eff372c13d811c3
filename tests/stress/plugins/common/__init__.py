"""What the plugins share; a package without plugins of its own."""

from .stressed import STATE, Stressed

__all__ = ["STATE", "Stressed"]
