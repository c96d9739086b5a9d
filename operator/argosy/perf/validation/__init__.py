"""Measured runs of vLLM against the engine, and the calibration that they ask for."""
