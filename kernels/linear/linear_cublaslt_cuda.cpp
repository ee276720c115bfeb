// Linear layers of many tokens through cuBLASLt.
//
//   Math     kernels/linear/linear.h. cuBLASLt is column-major: it is asked for C[M, N] = W^T X, whose memory is y[N,
//            M].
//   Work     bf16 in, fp32 accumulation, bf16 or fp32 out. The heuristic is asked once per shape, strides and
//            alignment; the plan is kept for the life of the process.
//   Limits   What the heuristic has no algorithm for is an error. Rows not aligned to 16 bytes run, slower.
//   Checked  tests/cuda/test_linear_cuda.cpp.

#include <cublasLt.h>

#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "kernels/base/cuda.h"
#include "kernels/base/kernel_log.h"
#include "kernels/linear/cublaslt.h"

namespace kdabench {
namespace {

void check(cublasStatus_t status, std::string_view doing) {
  require(status == CUBLAS_STATUS_SUCCESS, "failed to ", doing, ": cuBLASLt says ", cublasLtGetStatusString(status),
          ".");
}

struct LayoutDeleter {
  void operator()(cublasLtMatrixLayout_t p) const noexcept { cublasLtMatrixLayoutDestroy(p); }
};
using Layout = std::unique_ptr<std::remove_pointer_t<cublasLtMatrixLayout_t>, LayoutDeleter>;

struct MatmulDeleter {
  void operator()(cublasLtMatmulDesc_t p) const noexcept { cublasLtMatmulDescDestroy(p); }
};
using Matmul = std::unique_ptr<std::remove_pointer_t<cublasLtMatmulDesc_t>, MatmulDeleter>;

struct PreferenceDeleter {
  void operator()(cublasLtMatmulPreference_t p) const noexcept { cublasLtMatmulPreferenceDestroy(p); }
};
using Preference = std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, PreferenceDeleter>;

Layout make_layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t stride) {
  cublasLtMatrixLayout_t p = nullptr;
  check(cublasLtMatrixLayoutCreate(&p, type, rows, columns, stride), "describe a matrix");
  return Layout(p);
}

// All that a plan depends on.
struct Key {
  int64_t tokens, in, out, x_stride, y_stride;
  uint32_t x_alignment, w_alignment, y_alignment;
  bool fp32_out;
  auto tie() const {
    return std::tie(tokens, in, out, x_stride, y_stride, x_alignment, w_alignment, y_alignment, fp32_out);
  }
  bool operator<(const Key& other) const { return tie() < other.tie(); }
};

struct Plan {
  Matmul matmul;
  Layout w, x, y;
  cublasLtMatmulAlgo_t algorithm;
};

// The largest power of two up to 256 that divides the address.
uint32_t alignment(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p) | 256;
  return static_cast<uint32_t>(address & -address);
}

class CublasLt {
 public:
  CublasLt() { check(cublasLtCreate(&handle_), "start cuBLASLt"); }
  ~CublasLt() { cublasLtDestroy(handle_); }
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  static CublasLt& instance() {
    static CublasLt one;
    return one;
  }

  cublasLtHandle_t handle() const { return handle_; }

  const Plan& plan(const Key& key) {
    const std::lock_guard lock(mutex_);
    const auto found = plans_.find(key);
    return found != plans_.end() ? found->second : plans_.emplace(key, make_plan(key)).first->second;
  }

 private:
  Plan make_plan(const Key& key) const {
    Plan plan;
    cublasLtMatmulDesc_t matmul = nullptr;
    check(cublasLtMatmulDescCreate(&matmul, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describe a product");
    plan.matmul.reset(matmul);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(cublasLtMatmulDescSetAttribute(matmul, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)),
          "transpose the weights");
    plan.w = make_layout(CUDA_R_16BF, key.in, key.out, key.in);
    plan.x = make_layout(CUDA_R_16BF, key.in, key.tokens, key.x_stride);
    plan.y = make_layout(key.fp32_out ? CUDA_R_32F : CUDA_R_16BF, key.out, key.tokens, key.y_stride);

    cublasLtMatmulPreference_t p = nullptr;
    check(cublasLtMatmulPreferenceCreate(&p), "make a preference");
    const Preference preference(p);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, auto value) {
      check(cublasLtMatmulPreferenceSetAttribute(p, what, &value, sizeof(value)), "set a preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kCublasLtWorkspaceBytes});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.w_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.x_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.y_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.y_alignment);

    cublasLtMatmulHeuristicResult_t result = {};
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle_, matmul, plan.w.get(), plan.x.get(), plan.y.get(), plan.y.get(), p, 1,
                                       &result, &found);
    require(status == CUBLAS_STATUS_SUCCESS && found == 1, "linear: cuBLASLt has no algorithm for ", key.tokens, " x ",
            key.in, " times ", key.out, " (row strides ", key.x_stride, " and ", key.y_stride, ", alignments ",
            key.x_alignment, ", ", key.w_alignment, " and ", key.y_alignment,
            " bytes); make the rows multiples of 8 elements.");
    plan.algorithm = result.algo;
    return plan;
  }

  cublasLtHandle_t handle_ = nullptr;
  std::mutex mutex_;
  std::map<Key, Plan> plans_;
};

template <class Out>
void multiply(const Linear<Gpu, Out>& args, void* workspace, cudaStream_t stream) {
  Key key;
  key.tokens = args.x.size[0], key.in = args.x.size[1], key.out = args.w.size[0];
  // A single row has no stride; cuBLASLt wants one that covers the row.
  key.x_stride = std::max(args.x.stride[0], key.in);
  key.y_stride = std::max(args.y.stride[0], key.out);
  key.x_alignment = alignment(args.x.data);
  key.w_alignment = alignment(args.w.data);
  key.y_alignment = alignment(args.y.data);
  key.fp32_out = std::is_same_v<Out, float>;

  CublasLt& lt = CublasLt::instance();
  const Plan& plan = lt.plan(key);
  const float one = 1, zero = 0;
  KernelLog::note({"cublaslt"});
  check(cublasLtMatmul(lt.handle(), plan.matmul.get(), &one, args.w.data, plan.w.get(), args.x.data, plan.x.get(),
                       &zero, args.y.data, plan.y.get(), args.y.data, plan.y.get(), &plan.algorithm, workspace,
                       kCublasLtWorkspaceBytes, stream),
        text("multiply ", key.tokens, " x ", key.in, " by ", key.out));
}

}  // namespace

void cublaslt_cuda(const Linear<Gpu>& args, void* workspace, cudaStream_t stream) { multiply(args, workspace, stream); }
void cublaslt_cuda(const Linear<Gpu, float>& args, void* workspace, cudaStream_t stream) {
  multiply(args, workspace, stream);
}

}  // namespace kdabench
