"""Fault injection: rules that make rare events happen on demand, scoped, counted and repeatable.

rule (the model), values (how one value is written), text and document (the two written forms), build (the Python form),
operations and possible (which rules can be), matching (which descriptors a rule means).
"""

from idxdd.device.faults.rule import BadRule, Rule, What, When, Where

__all__ = ["BadRule", "Rule", "What", "When", "Where"]
