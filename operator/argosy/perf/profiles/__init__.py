"""Step times of a variant: the shipped tables, and profiles derived from them or from a closed form."""
