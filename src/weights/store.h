// Named weights for building a model: typed, checked, and all faults of a file in one message.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "core/precision.h"
#include "weights/safetensors.h"

namespace segrid {

// Row n of the matrix is scales[n] values[n].
struct QuantisedTensor {
    at::Tensor values;  // [n, k] s8
    at::Tensor scales;  // [n] fp32
};

// Used by one thread while a model loads; then finish() and drop it. Tensors keep only their own
// memory alive.
class WeightStore {
public:
    explicit WeightStore(SafeTensors file);

    // fp32, contiguous, on the CPU; fp16 and bf16 are converted. The tensor may share memory with
    // the file's buffer: read only. A name that is missing, has another shape, another dtype or
    // holds NaN or Inf is recorded, and zeros of the expected shape are returned, so that one load
    // finds every fault; finish() throws.
    at::Tensor take(const std::string& name, const std::vector<int64_t>& expected_shape);
    bool has(const std::string& name) const { return file_.has(name); }
    // A matrix that the file keeps in I8, beside the F32 factors of its rows under name + "_scale"
    // (take() multiplies the two).
    bool is_quantised(const std::string& name) const;
    QuantisedTensor take_quantised(const std::string& name,
                                   const std::vector<int64_t>& expected_shape);
    // Notes that a tensor cannot be used, and why ("is not ..."); finish() throws.
    void refuse(const std::string& name, const std::string& why) { wrong_[name] = why; }
    // Empty when missing. For models that infer sizes from their weights.
    std::vector<int64_t> shape(const std::string& name) const;
    const std::string& path() const { return file_.path(); }
    // Weights that a layer keeps in int8, noted as it is built.
    void note_quantised(const std::string& name) { quantised_.push_back(name); }
    const std::vector<std::string>& quantised() const { return quantised_; }

    // Throws Corrupt, listing all missing, unexpected, wrongly shaped and non-finite tensors, when
    // there is any; a model must not be used before this returned. Tensors that were never taken
    // are unexpected unless their name begins with one of ignore_prefixes.
    void finish(const std::vector<std::string>& ignore_prefixes = {}) const;

private:
    // The tensor's view, or null where it is missing or has another shape (recorded).
    const TensorView* find(const std::string& name, const std::vector<int64_t>& expected_shape,
                           TensorView& view);
    at::Tensor tensor(const std::string& name, const TensorView& view,
                      at::ScalarType type) const;  // shares the file's memory

    SafeTensors file_;
    std::set<std::string> taken_, missing_;
    std::vector<std::string> quantised_;
    std::map<std::string, std::string> wrong_;  // name -> what is wrong with it
};

// A place in the tree of names: Scope(store) / "vision_encoder" / "layers" / 3, then
// .tensor("weight", {768, 768}). Does not own the store.
class Scope {
public:
    explicit Scope(WeightStore& store, Precisions precisions = {}, std::string prefix = "")
        : store_(&store), precisions_(precisions), prefix_(std::move(prefix)) {}

    Scope operator/(const std::string& name) const {
        return Scope(*store_, precisions_, full(name));
    }
    Scope operator/(int64_t index) const { return *this / std::to_string(index); }
    at::Tensor tensor(const std::string& name, const std::vector<int64_t>& shape) const {
        return store_->take(full(name), shape);
    }
    bool has(const std::string& name) const { return store_->has(full(name)); }
    std::vector<int64_t> shape(const std::string& name) const { return store_->shape(full(name)); }
    void refuse(const std::string& name, const std::string& why) const {
        store_->refuse(full(name), why);
    }
    bool is_quantised(const std::string& name) const { return store_->is_quantised(full(name)); }
    QuantisedTensor quantised(const std::string& name, const std::vector<int64_t>& shape) const {
        return store_->take_quantised(full(name), shape);
    }
    const std::string& prefix() const { return prefix_; }
    // What the products of the layers built from here run in.
    Precision precision() const { return precisions_.products; }
    Scope in(Precision precision) const { return Scope(*store_, {precision, precision}, prefix_); }
    // The same place for the Linear layers in the blocks of an encoder, which may be quantised
    // where nothing else is.
    Scope encoder_linears() const { return in(precisions_.encoder_linears); }
    WeightStore& store() const { return *store_; }

private:
    std::string full(const std::string& name) const {
        return prefix_.empty() ? name : prefix_ + "." + name;
    }

    WeightStore* store_;
    Precisions precisions_;
    std::string prefix_;
};

}  // namespace segrid
