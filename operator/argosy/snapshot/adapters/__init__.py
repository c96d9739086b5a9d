"""LoRA adapters: what each engine holds, as its pod has it."""
