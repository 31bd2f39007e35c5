"""The part of a case that says what engine is around the batch."""

from dataclasses import dataclass

from msa_ref.config import require


@dataclass(frozen=True)
class EnginePlan:
    """The model and the engine around a batch, for targets of kind `step`: there every state of a case is a step.

    num_layers: layers of the model, each with queries and keys of its own.
    judged_layer: the layer whose queries, keys and selections are the case's.
    is_buffer_shared: whether all layers write one `topk_indices_buffer`, else each has its own.
    second_micro_batch: the request that a step's second micro-batch begins with; 0 for no second one.
    has_padding: whether a step's last requests are given to the engine if they bring no token, as padding.
    """

    num_layers: int = 1
    judged_layer: int = 0
    is_buffer_shared: bool = False
    second_micro_batch: int = 0
    has_padding: bool = True

    def __post_init__(self) -> None:
        rule = f"must be within 0 .. {self.num_layers - 1}"
        require(0 <= self.judged_layer < self.num_layers, "judged_layer", rule, self.judged_layer)
        require(self.second_micro_batch >= 0, "second_micro_batch", "must be >= 0", self.second_micro_batch)


ONE_LAYER = EnginePlan()
"""The plan of a case that is not of an engine's steps."""
