"""What the fields of every kind are made of: bounded values, rules over several fields, times."""
