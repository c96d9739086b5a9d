"""A kind as a CustomResourceDefinition: what all objects share, its fields and rules in tables, its YAML."""
