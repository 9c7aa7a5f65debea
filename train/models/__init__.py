"""The models, on torch alone; `create_model` builds one by name."""

from dlcv.train.models.registry import create_model, list_models

__all__ = ["create_model", "list_models"]
