"""LoRA adapters: loading and unloading them through the API of engines."""
