"""What an engine holds and moves: weights and KV cache in a GPU's memory, operations and bytes of a step."""
