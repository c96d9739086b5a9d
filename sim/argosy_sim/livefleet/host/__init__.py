"""A fleet attached to a cluster that was there before, such as kind's on this host.

ranges       which /16 is free (pure)
routes       this host's routes, by `ip`
cluster_api  the API calls that only an attached fleet makes
survey       what the cluster uses
trial        pods of the cluster try to reach this host
attachment   the order of all this, and its end
"""
