"""One module for each problem. A problem is five functions that benchmarks.run and benchmarks.row
call:

- `add_arguments(parser)` declares its options,
- `measure(a, scratch)` starts the rows, prints what is measured, and returns a `harness.Measured`,
- `measure_row(job)` measures one row in a process of its own; gemm has no rows of subjects and
  measures in `measure`,
- `compare(body, scratch)` returns ratios and the agreement of the subjects' results,
- `summarise(body)` returns the lines to print.

`scratch` is a folder in which the rows keep their results for `compare`; `body` is what the result
file holds. The first line of a module's docstring is its line in `benchmarks.run --help`."""
