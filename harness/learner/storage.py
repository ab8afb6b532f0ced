"""Reading what torch.distributed.checkpoint wrote, and nothing that a file could run.

torch keeps its index in `.metadata`, which is a pickle, and unpickles the scalars of an optimizer
without restraint: whoever writes such a file chooses what is called. Here an index may name the
classes that torch's own writer uses and no others, and scalars are read as data.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint._traverse import set_element
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata

INDEX = ".metadata"
_METADATA = "torch.distributed.checkpoint.metadata"
# All that an index which torch 2.13 wrote names, beside types of numbers.
NAMED = {
    *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta")),
    *((_METADATA, f"{kind}StorageMetadata") for kind in ("Tensor", "Bytes", "Chunk")),
    *((_METADATA, name) for name in ("TensorProperties", "_MEM_FORMAT_ENCODING")),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    *(("torch.serialization", "_get_layout"), ("torch", "Size"), ("pathlib", "PosixPath")),
}


class Reader(FileSystemReader):
    """torch's reader of files; it runs nothing and stays in its folder."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The index; torch asks for it before it reads anything else.

        Raises:
            pickle.UnpicklingError, OSError: as `index`.
        """
        metadata = index(Path(self._get_metadata_path(kwargs.get("rank"))))
        if metadata.storage_meta is not None:
            metadata.storage_meta.load_id = self.load_id
        return metadata


class Planner(DefaultLoadPlanner):
    """torch's planner; scalars are read as data."""

    def load_bytes(self, read_item: Any, value: Any) -> None:
        """Take in one scalar."""
        path = self.mappings[read_item.dest_index.fqn]
        set_element(self.original_state_dict, path, torch.load(value, weights_only=True))


def index(path: Path) -> Metadata:
    """What a checkpoint holds and in which of its files.

    Raises:
        pickle.UnpicklingError: no index, or one that names what torch never writes.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            found = _Restricted(file).load()
            inside = isinstance(found, Metadata) and all(
                _inside(path.parent, info) for info in found.storage_data.values()
            )
        except Exception as error:  # a damaged or crafted pickle may raise anything
            raise pickle.UnpicklingError(f"{path.name}: {error}") from error
    if not inside:
        raise pickle.UnpicklingError(f"{path.name} is no index of the files beside it")
    assert isinstance(found, Metadata)
    return found


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        number = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if (module, name) in NAMED or number:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which torch never writes there")


def _inside(folder: Path, info: Any) -> bool:
    """Whether an entry lies in a file of the folder's own, as it was written."""
    if not isinstance(info, _StorageInfo) or info.transform_descriptors:
        return False
    file = folder / info.relative_path
    plain = Path(info.relative_path).name == info.relative_path
    return plain and file.is_file() and not file.is_symlink()
