"""LoRA adapters: which replica holds which, and what is next."""
