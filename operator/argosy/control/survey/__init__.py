"""What the commands that look at a cluster find in it: findings, routes, classes and revisions as rows."""
