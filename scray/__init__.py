"""The domain of scray: datasets, their queue, storage, manifests, and the IDX format. Pure, with thin edges."""

__version__ = "0.1.0"
