"""Benchmarks: ratios against a floor in the same run; absolute figures are reported, never asserted."""
