"""Tokens that an engine need not compute one by one: cached prefixes and speculative decoding."""
