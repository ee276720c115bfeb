#pragma once
// Products of one token that depend on each other, in one launch.
//
// A Chain collects operations in the order in which they would have been launched and runs them all in one kernel,
// whose weight stream does not stop between them: while one product waits for the vector of the one before, the weights
// of the next ones are already on their way. The result is that of the separate launches.
//
//   chain.add(out_projection);  chain.add(norm);  chain.add(experts, scratch);  chain.add(next_norm);  chain.add(next);
//   chain.launch(stream);
//
// `add` says whether the operation was taken; when it was not, launch() what there is and try again on the empty
// chain, or run the operation alone. Nothing is written before launch(); all memory must live until the kernel has run,
// and may be reused by operations added later, as if each had been launched at once. Chains on one GPU must run one
// after another, on one stream: their blocks wait for each other, and two chains side by side could each hold half of
// the chip forever.

#include <memory>

#include "kernels/linear/linear.h"
#include "kernels/moe/moe.h"
#include "kernels/pointwise/pointwise.h"

namespace kdabench {

class Chain {
 public:
  Chain();
  ~Chain();
  Chain(Chain&&) noexcept;
  Chain& operator=(Chain&&) noexcept;

  bool empty() const;
  bool add(const Linear<Gpu>& linear);
  bool add(const Linear<Gpu, float>& linear);
  // Taken when its residual is that of the chain's norms before.
  bool add(const AddRmsNorm<Gpu>& norm);
  // Router, choice, experts. Takes scratch memory, which later operations may reuse. With a measuring arena it says
  // what it would do and adds nothing.
  bool add(const Moe<Gpu>& moe, Arena& scratch);
  // Runs and forgets what was added.
  void launch(cudaStream_t stream);

 private:
  struct Program;
  std::unique_ptr<Program> program_;
};

}  // namespace kdabench
