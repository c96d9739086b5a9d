"""Reading a config.json: which field means what, which are assumed, which must not be passed over."""
