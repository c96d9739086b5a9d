"""Which cluster gets which requests.

    table       the route table: what `xds` turns into Envoy's resources
    compile     builds it from the plan, the classes, the policies and the ready endpoints
    precedence  which class a request belongs to        policies  which policy acts in which class
    shares      a cell's traffic over ready clusters    counters  names of a class's counters
    weights     the traffic loop's correction of a cell's shares

Import the modules, not this package.
"""
