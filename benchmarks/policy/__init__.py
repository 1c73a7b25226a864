"""This engine beside OPA, rego-cpp, regorus, Cedar and Python written by hand, on the same policies in one run.

    python -m benchmarks.policy [--only TEXT] [--json]

`workloads/` is data: policies, documents, answers. `engines.py` is how each engine is asked. `worker.py` is the
process that one engine lives in, `run.py` leads all of them through the workloads, and `report.py` and `chart.py` show
what came out.
"""
