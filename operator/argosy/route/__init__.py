"""Who gets which traffic.

    table       the route table: what `xds` turns into Envoy's resources
    compile     builds it from the plan, the classes, the policies and the ready endpoints
    precedence  which class a request belongs to        policies  which policy acts in which class
    shares      a cell's traffic over what is ready     counters  names of a class's counters

Import the modules, not this package.
"""
