#pragma once
// Seeded inputs of every operation, ugly cases included, shared by tests and benchmarks.
//
//   auto truth = delta_problem({.batch = 2, .tokens = 65, .gate = GateKind::kUnbounded}, seed);  // Cpu<double>
//   auto host = truth.as<Cpu<float>>();      // the same values, not a second draw
//   auto bf16 = truth.as<Gpu>();             // the same values again: each was rounded to bf16 when drawn
//   delta_rule_cpu(truth.args());            // views of the problem's own vectors
//   bf16.args_at(base);                      // the same views, with base(vector) in place of vector.data()
//
// A mirror in another memory needs two calls: visit_buffers(visit(name, vector)) to copy, args_at to run. Outputs start
// as NaN (expert ids as -1), and so does all that no operation may read: row padding, cache rows not yet written.
// A factory called as delta_problem<Gpu>(...) draws straight into that backend's types, for problems too large to hold
// twice.

#include "kernels/problems_dense.h"   // linear, mixture of experts, pointwise, sampling
#include "kernels/problems_mixers.h"  // KDA and GDN, MLA
