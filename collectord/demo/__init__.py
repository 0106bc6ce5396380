"""The demonstration: four vendors and a sink on loopback ports, and the oracle that says whether anything was lost.

The simulators are as strict as the vendors and report what a client did wrong; tests and the benchmark use them too.
`simulator.py` says how a vendor is made, `okta.py` is the first.
"""
