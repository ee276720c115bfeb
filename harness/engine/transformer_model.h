#pragma once
// The weights of a transformer on one backend: built once as a dry run to size the block, then for real; filled from a
// checkpoint or from a seed.

#include <algorithm>
#include <cmath>
#include <set>

#include "harness/engine/checkpoint.h"
#include "harness/engine/session.h"

namespace kdabench {

// The values of tensors that are not plain normal draws, on the host (they are small). Element i is always the same.
inline std::vector<float> initial_values(Init init, int64_t count, uint64_t random) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) {
    const double u = random_uniform(random, i);
    switch (init.kind) {
      case Init::kOnes: values[i] = 1; break;
      case Init::kNormal: values[i] = init.stddev * random_normal(random, i); break;
      case Init::kALog: values[i] = static_cast<float>(std::log(1 + 15 * u)); break;
      case Init::kDtBias: {
        const double dt = std::exp(std::log(0.001) + u * (std::log(0.1) - std::log(0.001)));
        values[i] = static_cast<float>(dt + std::log(-std::expm1(-dt)));
        break;
      }
    }
  }
  return values;
}

inline std::string shape_text(const std::vector<int64_t>& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

template <class B>
class TransformerModel final : public Model {
 public:
  using Types = typename B::Types;
  using Weight = typename Types::Weight;

  TransformerModel(std::unique_ptr<B> backend, const ModelOptions& options)
      : backend_(std::move(backend)), options_(options) {
    Arena dry;
    {
      WeightBuilder<Weight> builder(dry);
      const Transformer<B> sizes(builder, options.config, options.layout);
    }
    block_ = backend_->allocate(dry.used_bytes(), "the weights");
    Arena arena(block_.data(), dry.used_bytes());
    WeightBuilder<Weight> builder(arena);
    transformer_ = std::make_unique<Transformer<B>>(builder, options.config, options.layout);
    for (const auto& tensor : builder.tensors()) parameters_ += tensor.count();
    // fails here, before the weights are made, when a shape has no kernel
    predict({.batch = 1, .capacity = 16, .forward_tokens = 8, .all_logits = false});
    options.checkpoint.empty() ? draw(builder.tensors()) : load(builder.tensors());
    backend_->synchronize();
  }

  const ModelOptions& options() const override { return options_; }
  int64_t parameters() const override { return parameters_; }
  int64_t weight_bytes() const override { return block_.bytes(); }

  SessionBytes predict(const SessionOptions& o) const override {
    const SessionSize size = measure_session(*transformer_, *backend_, options_.config, o);
    return {size.cache, size.state, size.workspace};
  }

  std::unique_ptr<Session> open(const SessionOptions& o) override {
    require(o.batch >= 1 && o.capacity >= 1 && o.forward_tokens >= 1, "session: batch ", o.batch, ", capacity ",
            o.capacity, " and forward_tokens ", o.forward_tokens, " must be at least 1.");
    return std::make_unique<TransformerSession<B>>(*transformer_, *backend_, options_.config, o);
  }

 private:
  void progress(const char* what, double fraction) const {
    if (options_.progress) options_.progress(what, fraction);
  }

  void draw(const std::vector<WeightTensor<Weight>>& tensors) {
    int64_t done = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const WeightTensor<Weight>& tensor = tensors[i];
      for (size_t p = 0; p < tensor.pieces.size(); ++p) {
        const WeightPiece<Weight>& piece = tensor.pieces[p];
        const std::string name = p == 0 ? tensor.names[0] : text(tensor.names[0], " piece ", p);
        const uint64_t random = random_stream(options_.seed, name);
        if (tensor.init.kind == Init::kNormal && !piece.is_f32)
          backend_->fill_normal(piece.weight, random, tensor.init.stddev);
        else
          store(piece, initial_values(tensor.init, piece.rows() * piece.columns(), random));
      }
      done += tensor.count();
      if (i % 256 == 0) progress("drawing random weights", static_cast<double>(done) / parameters_);
    }
    backend_->synchronize();
    progress("drawing random weights", 1);
  }

  void load(const std::vector<WeightTensor<Weight>>& tensors) {
    const Safetensors file(options_.checkpoint);
    std::set<std::string> used;
    // names and shapes first, so that a wrong folder is refused before anything is copied
    std::vector<std::string> found(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      for (const std::string& name : tensors[i].names)
        if (found[i].empty() && file.tensors().count(name)) found[i] = name;
      require(!found[i].empty(), options_.checkpoint, ": tensor ", tensors[i].names[0], " of shape ",
              shape_text(tensors[i].shape), " is missing.");
      const std::vector<int64_t>& shape = file.find(found[i]).shape;
      require(shape == tensors[i].shape, options_.checkpoint, ": tensor ", found[i], " has shape ", shape_text(shape),
              "; wanted ", shape_text(tensors[i].shape), ".");
      used.insert(found[i]);
    }
    for (const auto& [name, info] : file.tensors())
      require(used.count(name) > 0, options_.checkpoint, ": tensor ", name, " of shape ", shape_text(info.shape),
              " belongs to no part of this model; is this the right architecture?");
    int64_t done = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      done += tensors[i].count();
      progress("loading weights", static_cast<double>(done) / parameters_);
      if (upload_as_stored(tensors[i], file.find(found[i]))) continue;
      const std::vector<float> values = file.floats(found[i]);
      const int64_t columns = tensors[i].columns();
      for (const WeightPiece<Weight>& piece : tensors[i].pieces) {
        if (piece.columns() == columns && piece.row == 0 && piece.rows() * columns == tensors[i].count()) {
          store(piece, values);
          continue;
        }
        std::vector<float> part(piece.rows() * piece.columns());
        for (int64_t row = 0; row < piece.rows(); ++row)
          std::copy_n(values.begin() + (piece.row + row) * columns + piece.column, piece.columns(),
                      part.begin() + row * piece.columns());
        store(piece, part);
      }
    }
  }

  // bf16 to bf16 needs no copy on the host: whole rows go from the file's mapping to the device. False where the tensor
  // is kept otherwise than it is stored.
  bool upload_as_stored(const WeightTensor<Weight>& tensor, const TensorInfo& stored) {
    if constexpr (!std::is_same_v<Weight, Bf16>) {
      return false;
    } else {
      const int64_t columns = tensor.columns();
      const auto whole_rows = [columns](const WeightPiece<Weight>& piece) {
        return !piece.is_f32 && piece.column == 0 && piece.columns() == columns;
      };
      if (stored.dtype != "BF16" || !std::all_of(tensor.pieces.begin(), tensor.pieces.end(), whole_rows)) return false;
      const auto* const values = reinterpret_cast<const Bf16*>(stored.data.data());
      for (const WeightPiece<Weight>& piece : tensor.pieces) backend_->upload(piece.weight, values + piece.row * columns);
      return true;
    }
  }

  void store(const WeightPiece<Weight>& piece, const std::vector<float>& values) {
    if (piece.is_f32) {
      backend_->upload(piece.f32, values.data());
    } else {
      std::vector<Weight> converted(values.size());
      for (size_t i = 0; i < values.size(); ++i) {
        if constexpr (std::is_same_v<Weight, Bf16>)
          converted[i] = to_bf16(values[i]);
        else
          converted[i] = static_cast<Weight>(values[i]);
      }
      backend_->upload(piece.weight, converted.data());
    }
    backend_->synchronize();                 // the host copy dies here
  }

  std::unique_ptr<B> backend_;
  ModelOptions options_;
  typename B::Memory block_;
  std::unique_ptr<Transformer<B>> transformer_;
  int64_t parameters_ = 0;
};

}  // namespace kdabench
