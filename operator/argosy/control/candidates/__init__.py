"""What could serve each class: variants, their profiles and calibrations, and why others cannot."""
