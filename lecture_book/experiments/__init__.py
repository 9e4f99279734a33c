"""Experiments that decide what the chapters claim about trained networks."""
