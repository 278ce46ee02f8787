"""A study as charts of Vega-Lite, one a file, by altair: for the report, as pictures, and in notebooks."""
