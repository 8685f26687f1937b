// Named weights for building a model. Reads are typed and checked; all faults of a file are
// reported in one message.
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

// Row n of the matrix is scales[n] * values[n].
struct QuantisedTensor {
    at::Tensor values;  // [n, k] s8
    at::Tensor scales;  // [n] fp32
};

// Used by one thread while a model loads, which then calls finish() and drops it. Tensors keep only
// their own memory alive.
class WeightStore {
public:
    explicit WeightStore(SafeTensors file);

    // Returns fp32, contiguous, on the CPU; fp16 and bf16 are converted. The tensor may share
    // memory with the file's buffer, so it is read-only. If the name is missing, or its tensor has
    // another shape, another dtype, or holds NaN or Inf, the fault is recorded and zeros of the
    // expected shape are returned. So one load finds every fault; finish() throws. Where such zeros
    // would fill more memory than a file of this size can ask for, take() throws at once.
    at::Tensor take(const std::string& name, const std::vector<int64_t>& expected_shape);
    bool has(const std::string& name) const { return file_.has(name); }
    // True for a matrix that the file keeps in I8, with the F32 scales of its rows under name +
    // "_scale". take() multiplies the two.
    bool is_quantised(const std::string& name) const;
    QuantisedTensor take_quantised(const std::string& name,
                                   const std::vector<int64_t>& expected_shape);
    // Records that a tensor cannot be used, and why ("is not ..."); finish() throws.
    void refuse(const std::string& name, const std::string& why) { wrong_[name] = why; }
    // Says that the model needs no tensor of that name, where the file has one.
    void leave(const std::string& name) { taken_.insert(name); }
    // Empty if the tensor is missing. For models that infer sizes from their weights.
    std::vector<int64_t> shape(const std::string& name) const;
    const std::string& path() const { return file_.path(); }
    // Records, while a layer is built, that it keeps this weight in int8.
    void note_quantised(const std::string& name) { quantised_.push_back(name); }
    const std::vector<std::string>& quantised() const { return quantised_; }

    // Throws Corrupt if any tensor is missing, unexpected, wrongly shaped or non-finite, and lists
    // all of them. A model must not be used before this has returned. A tensor that was never taken
    // is unexpected unless its name begins with one of ignore_prefixes.
    void finish(const std::vector<std::string>& ignore_prefixes = {}) const;

private:
    // The tensor's view, or null (and the fault is recorded) if it is missing or has another shape.
    const TensorView* find(const std::string& name, const std::vector<int64_t>& expected_shape,
                           TensorView& view);
    // Shares the file's memory.
    at::Tensor tensor(const std::string& name, const TensorView& view, at::ScalarType type) const;

    at::Tensor stand_in(const std::vector<int64_t>& shape);
    // Throws Corrupt with all faults that are known, and these names of tensors that nothing takes.
    [[noreturn]] void report(const std::vector<std::string>& unexpected) const;

    SafeTensors file_;
    double stand_ins_ = 0;  // their values
    std::set<std::string> taken_, missing_;
    std::vector<std::string> quantised_;
    std::map<std::string, std::string> wrong_;  // name -> its fault
};

// A position in the tree of names: WeightScope(store) / "vision_encoder" / "layers" / 3, then
// .tensor("weight", {768, 768}). Does not own the store.
class WeightScope {
public:
    explicit WeightScope(WeightStore& store, Precisions precisions = {}, std::string prefix = "")
        : store_(&store), precisions_(precisions), prefix_(std::move(prefix)) {}

    WeightScope operator/(const std::string& name) const {
        return WeightScope(*store_, precisions_, full(name));
    }
    WeightScope operator/(int64_t index) const { return *this / std::to_string(index); }
    at::Tensor tensor(const std::string& name, const std::vector<int64_t>& shape) const {
        return store_->take(full(name), shape);
    }
    bool has(const std::string& name) const { return store_->has(full(name)); }
    std::vector<int64_t> shape(const std::string& name) const { return store_->shape(full(name)); }
    void leave(const std::string& name) const { store_->leave(full(name)); }
    void refuse(const std::string& name, const std::string& why) const {
        store_->refuse(full(name), why);
    }
    bool is_quantised(const std::string& name) const { return store_->is_quantised(full(name)); }
    QuantisedTensor quantised(const std::string& name, const std::vector<int64_t>& shape) const {
        return store_->take_quantised(full(name), shape);
    }
    const std::string& prefix() const { return prefix_; }
    // The precision of products in the layers built from here.
    Precision precision() const { return precisions_.products; }
    WeightScope in(Precision precision) const {
        return WeightScope(*store_, {precision, precision}, prefix_);
    }
    // The same position for the Linear layers in an encoder's blocks, which may be quantised while
    // the other layers are not.
    WeightScope encoder_linears() const { return in(precisions_.encoder_linears); }
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
